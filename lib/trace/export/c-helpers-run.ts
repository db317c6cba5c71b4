/** Text of the helpers in C that run vCPUs, on the main thread and on threads of their own. */

export const RUN = `
#define KVM_RUN 0xae80 // _IO(0xae, 0x80)
#define IMMEDIATE_EXIT 1 // offset in struct kvm_run

struct vcpu {
	int fd;
	volatile unsigned char *page;
	int kicked;
	long long result;
	// Of a run that another thread makes.
	int running;
	pthread_t thread;
};

static volatile unsigned char *volatile page_now;

static void on_limit(int signal)
{
	(void)signal;
	if (page_now)
		page_now[IMMEDIATE_EXIT] = 1;
}

static long long enter(struct vcpu *vcpu)
{
	long long answer = vcpu->page ? sys(ioctl(vcpu->fd, KVM_RUN, 0)) : -EBADF;

	if (answer == -EINTR && vcpu->page) {
		vcpu->kicked = 0;
		vcpu->page[IMMEDIATE_EXIT] = 0;
	}
	return answer;
}

/** KVM_RUN, interrupted after so many milliseconds. */
static inline long long run(struct vcpu *vcpu, unsigned ms)
{
	struct sigaction action = { .sa_handler = on_limit };
	struct itimerval limit = { .it_value = { ms / 1000, (ms % 1000) * 1000 } }, none = { 0 };

	// No SA_RESTART: KVM_RUN must come back.
	sigaction(SIGALRM, &action, NULL);
	page_now = vcpu->page;
	setitimer(ITIMER_REAL, &limit, NULL);
	vcpu->result = enter(vcpu);
	setitimer(ITIMER_REAL, &none, NULL);
	page_now = NULL;
	return vcpu->result;
}

/** A field of struct kvm_run, at most 8 bytes. */
static inline void exit_is(const struct vcpu *vcpu, const char *field, size_t offset, size_t size, uint64_t want)
{
	uint64_t value = 0;

	if (vcpu->page)
		memcpy(&value, (const void *)(vcpu->page + offset), size);
	word(field, want, value);
}

static inline void exit_bytes(const struct vcpu *vcpu, const char *field, size_t offset, size_t size, const void *want)
{
	if (vcpu->page)
		bytes(field, want, (const void *)(vcpu->page + offset), size);
}

/** Makes the run under way, or else the next one, return EINTR. */
static inline void kick(struct vcpu *vcpu)
{
	vcpu->kicked = 1;
	if (vcpu->page)
		vcpu->page[IMMEDIATE_EXIT] = 1;
	if (vcpu->running)
		pthread_kill(vcpu->thread, SIGUSR1);
}
`;

export const THREADS = `
static void on_kick(int signal)
{
	(void)signal;
}

static void *run_thread(void *argument)
{
	struct vcpu *vcpu = argument;

	vcpu->result = enter(vcpu);
	return NULL;
}

/** Begins a KVM_RUN on a thread of its own. */
static inline void start(struct vcpu *vcpu)
{
	struct sigaction action = { .sa_handler = on_kick };

	sigaction(SIGUSR1, &action, NULL);
	vcpu->result = -EAGAIN;
	vcpu->running = pthread_create(&vcpu->thread, NULL, run_thread, vcpu) == 0;
}

/** Waits for it, and kicks it after so many milliseconds. */
static inline long long finish(struct vcpu *vcpu, unsigned ms)
{
	struct timespec until;

	if (!vcpu->running)
		return vcpu->result;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000 + 1;
	while (pthread_timedjoin_np(vcpu->thread, NULL, &until) != 0) {
		kick(vcpu);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
	}
	vcpu->running = 0;
	return vcpu->result;
}
`;
