// Which descriptors of this process were made by the addon, and for which environment.
#pragma once

namespace privmem {

struct EnvState;

void recordFd(int fd, EnvState* owner);
// Says whether it was recorded.
bool forgetFd(int fd);
void closeAllOf(EnvState* owner);

}  // namespace privmem
