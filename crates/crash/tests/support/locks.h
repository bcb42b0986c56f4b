/*
 * Locks, with the classes in the order in which FreeBSD has them, and who waits for them: the second thread of doomed
 * (WAITER), init's (SLEEPER) and the swapper's (SWAPPER).
 *
 * Without more, the second waits for Giant, which the first has. With DEADLOCK, init has Giant and sleeps for an sx lock of
 * the second, which waits for Giant; with DEADLOCK=2 the swapper waits for that, too; with DEADLOCK=3 all three wait for
 * each other. With SHARED they wait for locks that readers have, or the kernel itself; with SHARED=2 for others.
 */
struct lock_object { const char *lo_name; u32 lo_flags, lo_data; void *lo_witness; };
struct lock_class { const char *lc_name; };
static struct lock_class spin = { "spin mutex" }, sleep_mutex = { "sleep mutex" }, sx_class = { "sx" }, rm_class = { "rm" };
static struct lock_class sleepable_rm = { "sleepable rm" }, rw_class = { "rw" }, lockmgr_class = { "lockmgr" };
struct lock_class *lock_classes[16] = { &spin, &sleep_mutex, &sx_class, &rm_class, &sleepable_rm, &rw_class, &lockmgr_class };

struct mtx { struct lock_object lock_object; volatile word mtx_lock; };
struct sx { struct lock_object lock_object; volatile word sx_lock; };
struct rwlock { struct lock_object lock_object; volatile word rw_lock; };
struct lock { struct lock_object lock_object; volatile word lk_lock; u32 lk_exslpfail; int lk_timo, lk_pri; };
struct rm_priotracker {
	struct { void *rmq_next, *rmq_prev; } rmp_cpuQueue;
	struct rmlock *rmp_rmlock;
	struct thread *rmp_thread;
	int rmp_flags;
	LIST_ENTRY(rm_priotracker) rmp_qentry;
};
struct rmlock {
	struct lock_object lock_object;
	u64 rm_writecpus;
	LIST_HEAD(rm_priotracker) rm_activeReaders;
	union { struct lock_object _rm_wlock_object; struct mtx _rm_lock_mtx; struct sx _rm_lock_sx; } _rm_lock;
};
struct turnstile { struct lock_object *ts_lockobj; struct thread *ts_owner; };

/* Initialized, of a class. */
#define OF(class) (0x10000 | (class) << 24)
#define READERS(count) ((count) << 5 | 1)
#define BLOCKED(name, turnstile) .td_inhibitors = 8, .td_lockname = (name), .td_blocked = &(turnstile)
#define SLEEPS(message, channel) .td_inhibitors = 2, .td_wmesg = (message), .td_wchan = (channel)

static const char sx_name[] = "allproc";
#ifdef DEADLOCK
#define GIANT_OWNER &sleeper
#else
#define GIANT_OWNER &culprit
#endif
#if defined(SHARED)
#define OBJECT_WORD (READERS(3) | 4)
/* LK_KERNPROC, with exclusive waiters. */
#define BUFFER_WORD (SHARED == 2 ? READERS(4) | 4 : ((word)-1 & ~(word)0x1f) | 4)
#define ALLPROC_WORD (READERS(2) | 4)
#else
#define OBJECT_WORD ((word)&sleeper + 4)
#define BUFFER_WORD ((word)&thread0 + 4)
#define ALLPROC_WORD ((word)&spinner + 4)
#endif
struct mtx Giant = { { "Giant", OF(1) }, (word)GIANT_OWNER + 2 };
struct sx allproc_lock = { { sx_name, OF(2) }, ALLPROC_WORD };
struct rwlock object_lock = { { "vm object", OF(5) }, OBJECT_WORD };
struct lock buffer_lock = { { "bufwait", OF(6) }, BUFFER_WORD };
/* A writer has the mutex of its own and waits for a reader to go. */
extern struct rmlock tree_lock;
static struct rm_priotracker reader = { .rmp_rmlock = &tree_lock, .rmp_thread = &culprit, .rmp_flags = 3 };
struct rmlock tree_lock = {
	{ "radix node head", OF(3) }, 3, { &reader }, { ._rm_lock_mtx = { { "radix node head", OF(1) }, (word)&thread0 } },
};
static const char inner_name[] = "rmlock_sx";
struct rmlock sysctl_lock = {
	{ "sysctl lock", OF(4) | 0x100000 }, 0, { 0 }, { ._rm_lock_sx = { { inner_name, OF(2) }, (word)&culprit + 4 } },
};
struct turnstile turnstile = { &Giant.lock_object, GIANT_OWNER }, of_object = { &object_lock.lock_object, 0 };
struct turnstile of_tree = { &tree_lock.lock_object, &culprit };

#define WAITER BLOCKED("Giant", turnstile)
#define SLEEPER SLEEPS("nanslp", &version), .td_flags = 8
#define SWAPPER SLEEPS("swapin", 0)
#if defined(DEADLOCK)
#undef SLEEPER
#define SLEEPER SLEEPS(sx_name, &allproc_lock), .td_flags = 8
#endif
#if DEADLOCK == 2
#undef SWAPPER
#define SWAPPER SLEEPS(sx_name, &allproc_lock)
#elif DEADLOCK == 3
#undef WAITER
#undef SLEEPER
#undef SWAPPER
#define WAITER BLOCKED("vm object", of_object)
/* Buffers are waited for under a name of the caller's. */
#define SLEEPER SLEEPS("getblk", &buffer_lock)
#define SWAPPER SLEEPS(sx_name, &allproc_lock)
#elif SHARED == 1
#undef WAITER
#undef SLEEPER
#undef SWAPPER
#define WAITER BLOCKED("vm object", of_object)
#define SLEEPER SLEEPS("getblk", &buffer_lock)
#define SWAPPER BLOCKED("radix node head", of_tree)
#elif SHARED == 2
#undef WAITER
#undef SLEEPER
#undef SWAPPER
#define WAITER SLEEPS(sx_name, &allproc_lock)
#define SLEEPER SLEEPS("getblk", &buffer_lock)
#define SWAPPER SLEEPS(inner_name, &sysctl_lock._rm_lock)
#endif
