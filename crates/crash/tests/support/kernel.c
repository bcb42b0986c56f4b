/*
 * A kernel that never runs: types and variables with the names that FreeBSD gives them, as far as a dump is read by
 * them, and a stack as a panic by a page fault leaves it. The addresses are where the linker puts them.
 */
#ifndef LAST_PROCESS
#define LAST_PROCESS 0
#endif
#include "types.h"


struct pcb { u64 pcb_r15, pcb_r14, pcb_r13, pcb_r12, pcb_rbp, pcb_rsp, pcb_rbx, pcb_rip; };

struct trapframe {
	u64 tf_rdi, tf_rsi, tf_rdx, tf_rcx, tf_r8, tf_r9, tf_rax, tf_rbx, tf_rbp, tf_r10, tf_r11, tf_r12, tf_r13, tf_r14, tf_r15;
	u32 tf_trapno; unsigned short tf_fs, tf_gs;
	u64 tf_addr; u32 tf_flags; unsigned short tf_es, tf_ds;
	u64 tf_err, tf_rip, tf_cs, tf_rflags, tf_rsp, tf_ss;
};

struct ucred { u32 cr_uid; };
struct proc;

struct thread {
	struct proc *td_proc;
	TAILQ_ENTRY(thread) td_plist;
	int td_tid;
	char td_name[20];
	enum { TDS_INACTIVE = 0, TDS_INHIBITED, TDS_CAN_RUN, TDS_RUNQ, TDS_RUNNING } td_state;
	int td_inhibitors, td_flags, td_oncpu;
	const char *td_wmesg, *td_lockname;
	const void *td_wchan;
	struct turnstile *td_blocked;
	u64 td_kstack;
	struct pcb *td_pcb;
};

struct proc {
	LIST_ENTRY(proc) p_list;
	TAILQ_HEAD(thread) p_threads;
	int p_pid;
	char p_comm[20];
	enum { PRS_NEW = 0, PRS_NORMAL, PRS_ZOMBIE } p_state;
	struct proc *p_pptr;
	struct ucred *p_ucred;
	union { int p_one; struct { short p_low : 5, p_high : 11; }; };
#ifdef COOKBOOK
	struct filedesc *p_fd;
#endif
};

#include "linker.h"
struct msgbuf { char *msg_ptr; u32 msg_magic, msg_size, msg_wseq, msg_rseq, msg_cksum, msg_seqmod; };

#ifndef VERSION
#define VERSION "FreeBSD 99.0-FORGED #0: Thu Jan  1 00:00:00 UTC 1970\n"
#endif
char version[] = VERSION;
struct msgbuf *msgbufp;
long time_uptime = 93784;
int mp_ncpus = 2;
int dumptid = 100002;
#ifndef PANIC
#define PANIC "page fault"
#endif
static char buf[256] = PANIC;
const char *panicstr = buf;

/* Who calls whom; none of it is ever called. */
volatile int sink;
void savectx(void);
#define BODY sink++; sink++; sink++; sink++; sink++; sink++; sink++; sink++
__attribute__((noinline)) void doadump(int textdump) { BODY; savectx(); sink = textdump; }
__attribute__((noinline)) void kern_reboot(int howto) { BODY; doadump(1); sink = howto; }
__attribute__((noinline)) void vpanic(const char *fmt) { BODY; kern_reboot(260); sink = *fmt; }
__attribute__((noinline)) void panic(const char *fmt) { BODY; vpanic(fmt); sink = *fmt; }
__attribute__((noinline)) void trap_fatal(struct trapframe *frame) { BODY; panic("%s"); sink = frame->tf_err; }
static inline __attribute__((always_inline)) int follow(struct proc *p) { return p->p_pid + sink; }
__attribute__((noinline)) int broken_driver(struct proc *p, int flags) { BODY; savectx(); sink = flags; return follow(p); }
__attribute__((noinline)) int sys_ioctl(struct thread *td) { BODY; return broken_driver(0, 42) + td->td_tid; }
__attribute__((noinline)) void amd64_syscall(struct thread *td, int traced) { BODY; sys_ioctl(td); sink = traced; }
__attribute__((noinline)) void sched_switch(struct thread *td) { BODY; savectx(); sink = td->td_tid; }
__attribute__((noinline)) void fork_exit(void) { BODY; sched_switch(0); }
__asm__(".text\n.globl calltrap\n.type calltrap,@function\ncalltrap: .fill 32, 1, 0x90\n.size calltrap, .-calltrap\n"
	".globl fast_syscall_common\n.type fast_syscall_common,@function\nfast_syscall_common: .fill 32, 1, 0x90\n"
	".size fast_syscall_common, .-fast_syscall_common\n"
	".globl savectx\n.type savectx,@function\nsavectx: ret\n.size savectx, .-savectx\n");
void calltrap(void);
void fast_syscall_common(void);

extern struct proc proc0, init, doomed;
extern struct thread thread0, sleeper, culprit, spinner;

/* Frames with a saved frame pointer and a return address each, by frame pointer. */
#define IN(function) ((u64)(function) + 24)
#define FRAME(member) ((u64)&panicked.member)
static struct stack {
	u64 room[8];
	u64 doadump[2], kern_reboot[2], vpanic[2], panic[2], trap_fatal[2];
	struct trapframe trap;
	u64 more[4];
	u64 broken_driver[2], sys_ioctl[2], amd64_syscall[2];
	struct trapframe syscall;
} panicked = {
	.doadump = { FRAME(kern_reboot), IN(kern_reboot) },
	.kern_reboot = { FRAME(vpanic), IN(vpanic) },
	.vpanic = { FRAME(panic), IN(panic) },
	.panic = { FRAME(trap_fatal), IN(trap_fatal) },
	.trap_fatal = { FRAME(broken_driver), (u64)calltrap + 8 },
	.trap = {
		.tf_trapno = 12, .tf_addr = __builtin_offsetof(struct proc, p_pid), .tf_err = 0, .tf_cs = 0x20,
		.tf_rip = IN(broken_driver), .tf_rsp = FRAME(more), .tf_rbp = FRAME(broken_driver),
	},
	.broken_driver = { FRAME(sys_ioctl), IN(sys_ioctl) },
	.sys_ioctl = { FRAME(amd64_syscall), IN(amd64_syscall) },
	.amd64_syscall = { 0, (u64)fast_syscall_common + 8 },
	.syscall = { .tf_rip = 0x201000, .tf_rsp = 0x7fffffffe000, .tf_cs = 0x43 },
};
static u64 switched[2] = { 0, IN(fork_exit) };
static struct pcb dumppcb = { .pcb_rbp = FRAME(doadump), .pcb_rsp = FRAME(room), .pcb_rip = IN(doadump) };
struct pcb stoppcbs[2];
static struct pcb switched_pcb = { .pcb_rbp = (u64)switched, .pcb_rsp = (u64)switched - 32, .pcb_rip = IN(sched_switch) };
void *keep = &dumppcb;

#include "subsystems.h"
#ifdef COOKBOOK
#include "cookbook.c"
#define OPEN_FILES .p_fd = &doomed_files,
#else
#define OPEN_FILES
#endif

static struct ucred root = { 0 }, user = { 1001 };
struct { struct proc *lh_first; } allproc = { &doomed };
struct proc doomed = {
	.p_list = { &init }, .p_threads = { &culprit }, .p_pid = 27, .p_comm = "doomed", .p_state = PRS_NORMAL,
	.p_pptr = &init, .p_ucred = &user, .p_low = -3, .p_high = 100, OPEN_FILES
};
struct proc init = {
	.p_list = { &proc0 }, .p_threads = { &sleeper }, .p_pid = 1, .p_comm = "init", .p_state = PRS_NORMAL,
	.p_pptr = &proc0, .p_ucred = &root,
};
struct proc proc0 = {
	.p_list = { LAST_PROCESS }, .p_threads = { &thread0 }, .p_comm = "kernel", .p_state = PRS_NORMAL, .p_ucred = &root,
};
struct thread culprit = {
	.td_proc = &doomed, .td_plist = { &spinner }, .td_tid = 100002, .td_name = "doomed", .td_state = TDS_RUNNING,
	.td_oncpu = 1, .td_pcb = &switched_pcb,
};
struct thread spinner = {
	.td_proc = &doomed, .td_tid = 100003, .td_name = "waiter", .td_state = TDS_INHIBITED, .td_inhibitors = 8,
	.td_lockname = "Giant", .td_blocked = &turnstile, .td_oncpu = -1, .td_pcb = &switched_pcb,
};
struct thread sleeper = {
	.td_proc = &init, .td_tid = 100001, .td_name = "init", .td_state = TDS_INHIBITED, .td_inhibitors = 2, .td_flags = 8,
	.td_wmesg = WAITS_FOR, .td_wchan = WAITS_ON, .td_oncpu = -1, .td_pcb = &switched_pcb,
};
struct thread thread0 = {
	.td_proc = &proc0, .td_tid = 100000, .td_name = "swapper", .td_state = TDS_INHIBITED, .td_inhibitors = 2,
	.td_wmesg = "swapin", .td_oncpu = -1, .td_pcb = &switched_pcb,
};
extern struct linker_file module_file;
static struct linker_file kernel_file = {
	.link = { &module_file }, .filename = "kernel", .id = 1, .refs = 3, .address = version, .size = 4096,
};
struct { struct linker_file *tqh_first, **tqh_last; } linker_files = { &kernel_file };
/* Another file has another structure of this name: see link_elf_obj.c. */
struct elf_file { struct linker_file lf; int progtab; } kernel_elf;
