#include "fd_registry.h"

#include <unistd.h>

#include <mutex>
#include <unordered_map>
#include <vector>

namespace privmem {

namespace {

struct Registry {
  std::mutex mutex;
  std::unordered_map<int, EnvState*> owners;
};

// Never destroyed: vCPU threads and other environments may still run while the process exits.
Registry& registry() {
  static Registry* one = new Registry;
  return *one;
}

}  // namespace

void recordFd(int fd, EnvState* owner) {
  Registry& r = registry();
  const std::lock_guard<std::mutex> lock(r.mutex);
  r.owners[fd] = owner;
}

bool forgetFd(int fd) {
  Registry& r = registry();
  const std::lock_guard<std::mutex> lock(r.mutex);
  return r.owners.erase(fd) != 0;
}

void closeAllOf(EnvState* owner) {
  Registry& r = registry();
  std::vector<int> left;
  {
    const std::lock_guard<std::mutex> lock(r.mutex);
    for (auto it = r.owners.begin(); it != r.owners.end();) {
      if (it->second == owner) {
        left.push_back(it->first);
        it = r.owners.erase(it);
      } else {
        ++it;
      }
    }
  }
  // Closing can take long (the last reference to guest memory frees it), so not under the lock.
  for (const int fd : left) close(fd);
}

}  // namespace privmem
