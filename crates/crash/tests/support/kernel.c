/*
 * A kernel that never runs: types and variables with the names that FreeBSD gives them, as far as a dump is read by
 * them, and a stack as a panic by a page fault leaves it. The addresses are where the linker puts them.
 */
#ifndef LAST_PROCESS
#define LAST_PROCESS 0
#endif
#include "types.h"
#include "machine.h"

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
	word td_kstack;
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
#ifndef PANIC
#define PANIC "page fault"
#endif
static char buf[256] = PANIC;
/* With RUNNING nobody has panicked, and the first thread of doomed idles on the first processor. */
#ifdef RUNNING
int dumptid;
const char *panicstr;
#else
int dumptid = 100002;
const char *panicstr = buf;
#endif

/* Who calls whom; none of it is ever called, but for what a processor does that has nothing to do. */
volatile int sink;
void savectx(void);
#define FUNCTION __attribute__((noinline, noclone))
#define BODY sink++; sink++; sink++; sink++; sink++; sink++; sink++; sink++
/* The place in a function that a call returns to. */
#define BACK(name) __asm__ volatile(".Lin_" #name ":")
void in_dump_savectx(void) __asm__(".Lin_dump_savectx"), in_kern_reboot(void) __asm__(".Lin_kern_reboot");
void in_vpanic(void) __asm__(".Lin_vpanic");
FUNCTION void dump_savectx(void) { savectx(); BACK(dump_savectx); sink = 0; }
FUNCTION void doadump(int textdump) { BODY; dump_savectx(); sink = textdump; }
FUNCTION void kern_reboot(int howto) { BODY; doadump(1); BACK(kern_reboot); sink = howto; }
FUNCTION void vpanic(const char *fmt) { BODY; kern_reboot(260); BACK(vpanic); sink = *fmt; }
FUNCTION void panic(const char *fmt) { BODY; vpanic(fmt); sink = *fmt; }
FUNCTION void do_fatal(struct trapframe *frame) { BODY; panic("%s"); sink = frame->TRAP_WORD; }
/* Nothing follows the call, so that nothing is saved beside the frame pointer: the trap frame lies right behind. */
FUNCTION void do_trap(struct trapframe *frame) { BODY; do_fatal(frame); }
static inline __attribute__((always_inline)) int follow(struct proc *p) { return p->p_pid + sink; }
FUNCTION int broken_driver(struct proc *p, int flags) { BODY; savectx(); sink = flags; return follow(p); }
FUNCTION int sys_ioctl(struct thread *td) { BODY; return broken_driver(0, 42) + td->td_tid; }
FUNCTION void do_syscall(struct thread *td, int traced) { BODY; sys_ioctl(td); }
FUNCTION void sched_switch(struct thread *td) { BODY; savectx(); sink = td->td_tid; }
FUNCTION void fork_exit(void) { BODY; sched_switch(0); sink = 0; }
/* Functions of assembler, of which there is no call frame information. */
#define ASSEMBLED(name, code) \
	__asm__(".text\n.balign 16\n.globl " #name "\n.type " #name ",%function\n" #name ": " code "\n.size " #name ", .-" #name "\n"); \
	void name(void)
#define NOTHINGS NOTHING ";" NOTHING ";" NOTHING ";" NOTHING ";" NOTHING ";" NOTHING ";" NOTHING ";" NOTHING ";"
#define EMPTY(name) ASSEMBLED(name, NOTHINGS NOTHINGS)
#define EMPTY_NAMED(name) EMPTY(name)
EMPTY_NAMED(HANDLER);
EMPTY_NAMED(SYSCALL_HANDLER);
EMPTY(fork_trampoline);
ASSEMBLED(savectx, RETURN);
ASSEMBLED(cpu_idle, ENTER "; 1: " IDLE "; " JUMP " 1b");

FUNCTION void sched_idletd(void) { BODY; cpu_idle(); sink = 0; }

extern struct proc proc0, init, doomed;
extern struct thread thread0, sleeper, culprit, spinner;
extern struct pcpu cpu0, cpu1;

/* Frames with a saved frame pointer and a return address each, and room around them for what functions save. */
struct record { word fp, pc; };
struct frame { struct record record; word room[4]; };
#ifndef INTO
#define INTO 24
#endif
#define IN(function) ((word)(function) + INTO)
#define FRAME(member) FRAME_POINTER(panicked.member)
static struct stack {
	word room[8];
	struct frame doadump, kern_reboot, vpanic, panic, fatal;
	struct record trap_handler;
	PUSHED;
	struct trapframe trap;
	word more[4];
	struct frame broken_driver, sys_ioctl;
	struct record syscall_handler;
	PUSHED;
	struct trapframe syscall;
} panicked __attribute__((aligned(16))) = {
#ifdef OVERWRITTEN
	.room = { 0x104, 0x104, 7, 0x104 },
	.doadump.record = { FRAME(kern_reboot.record), (word)in_kern_reboot },
	.kern_reboot.record = { FRAME(vpanic.record), (word)in_vpanic },
#else
	.doadump.record = { FRAME(kern_reboot.record), IN(kern_reboot) },
	.kern_reboot.record = { FRAME(vpanic.record), IN(vpanic) },
#endif
	.vpanic.record = { FRAME(panic.record), IN(panic) },
	.panic.record = { FRAME(fatal.record), IN(do_fatal) },
	.fatal.record = { FRAME(trap_handler), IN(do_trap) },
	.trap_handler = { FRAME(broken_driver.record), (word)HANDLER + 8 },
	.trap = FAULT(__builtin_offsetof(struct proc, p_pid), IN(broken_driver), (word)panicked.more, FRAME(broken_driver.record)),
	.broken_driver.record = { FRAME(sys_ioctl.record), IN(sys_ioctl) },
	.sys_ioctl.record = { FRAME(syscall_handler), IN(do_syscall) },
	.syscall_handler = { 0, (word)SYSCALL_HANDLER + 8 },
	.syscall = SYSCALL(0x201000, 0x7fffffffe000),
};
/* For who has no types: the first frame pointer. */
word panicked_frames = FRAME(doadump.record);
static struct { word room[4]; struct frame sched_switch; struct record fork_exit; } switched __attribute__((aligned(16))) = {
	.sched_switch.record = { FRAME_POINTER(switched.fork_exit), IN(fork_exit) },
	.fork_exit = { 0, (word)fork_trampoline + 8 },
};
/* The stack of a processor that is about to idle: its stack pointer, its frame pointer, and where cpu_idle() returns to. */
static struct { word room[8]; struct record cpu_idle; struct frame sched_idletd; struct record fork_exit; } idle
    __attribute__((aligned(16))) = {
	.cpu_idle = { 0, IN(sched_idletd) },
	.sched_idletd.record = { FRAME_POINTER(idle.fork_exit), IN(fork_exit) },
	.fork_exit = { 0, (word)fork_trampoline + 8 },
};
word idle_registers[3] = { IDLE_STACK(idle.cpu_idle), FRAME_POINTER(idle.sched_idletd.record), IN(sched_idletd) };
#ifdef OVERWRITTEN
/* The registers are those of a function that has returned, over whose frame others have written since. */
static struct pcb dumppcb = PCB((word)panicked.room, (word)panicked.room, (word)in_dump_savectx);
#else
static struct pcb dumppcb = STOPPED_PCB(FRAME(doadump.record), (word)panicked.room, IN(doadump));
#endif
struct pcb stoppcbs[2];
static struct pcb switched_pcb = PCB(FRAME_POINTER(switched.sched_switch.record), (word)&switched, IN(sched_switch));
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
	.td_oncpu = CULPRITS_CPU, .td_pcb = &switched_pcb,
};
struct thread spinner = {
	.td_proc = &doomed, .td_tid = 100003, .td_name = "waiter", .td_state = TDS_INHIBITED, WAITER, .td_oncpu = -1,
	.td_pcb = &switched_pcb,
};
struct thread sleeper = {
	.td_proc = &init, .td_tid = 100001, .td_name = "init", .td_state = TDS_INHIBITED, SLEEPER, .td_oncpu = -1,
	.td_pcb = &switched_pcb,
};
struct thread thread0 = {
	.td_proc = &proc0, .td_tid = 100000, .td_name = "swapper", .td_state = TDS_INHIBITED, SWAPPER, .td_oncpu = -1,
	.td_pcb = &switched_pcb,
};
extern struct linker_file module_file;
static struct linker_file kernel_file = {
	.link = { &module_file }, .filename = "kernel", .id = 1, .refs = 3, .address = version, .size = 4096,
};
struct { struct linker_file *tqh_first, **tqh_last; } linker_files = { &kernel_file };
/* Another file has another structure of this name: see link_elf_obj.c. */
struct elf_file { struct linker_file lf; int progtab; } kernel_elf;
