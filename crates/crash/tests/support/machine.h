/*
 * What differs from machine to machine: the registers that a kernel saves, with the names that FreeBSD gives them
 * (machine/pcb.h, machine/frame.h), the functions that handle traps, and where a frame pointer points to.
 *
 * PCB() and FAULT() and SYSCALL() fill the structures in: of a thread that was switched away from, of a fault at an address
 * in the kernel, and of a user's program that called the kernel.
 */
#if defined(__x86_64__)
struct pcb {
	u64 pcb_r15, pcb_r14, pcb_r13, pcb_r12, pcb_rbp, pcb_rsp, pcb_rbx, pcb_rip;
	u64 pcb_fsbase, pcb_gsbase, pcb_kgsbase, pcb_cr0, pcb_cr2, pcb_cr3, pcb_cr4;
};
struct trapframe {
	u64 tf_rdi, tf_rsi, tf_rdx, tf_rcx, tf_r8, tf_r9, tf_rax, tf_rbx, tf_rbp, tf_r10, tf_r11, tf_r12, tf_r13, tf_r14, tf_r15;
	u32 tf_trapno; unsigned short tf_fs, tf_gs;
	u64 tf_addr; u32 tf_flags; unsigned short tf_es, tf_ds;
	u64 tf_err, tf_rip, tf_cs, tf_rflags, tf_rsp, tf_ss;
};
#define PCB(fp, sp, pc) { .pcb_rbp = (fp), .pcb_rsp = (sp), .pcb_rip = (pc) }
/* Of a processor that stops, with its control registers: a dump without symbols is searched for them. */
#define STOPPED_PCB(fp, sp, pc) \
	{ .pcb_rbp = (fp), .pcb_rsp = (sp), .pcb_rip = (pc), .pcb_cr0 = 0x80050033, .pcb_cr3 = 0x1000, .pcb_cr4 = 0x6f0 }
#define FAULT(address, pc, sp, fp) \
	{ .tf_trapno = 12, .tf_addr = (address), .tf_cs = 0x20, .tf_rip = (pc), .tf_rsp = (sp), .tf_rbp = (fp) }
#define SYSCALL(pc, sp) { .tf_cs = 0x43, .tf_rip = (pc), .tf_rsp = (sp) }
#define do_fatal trap_fatal
#define do_trap trap
#define do_syscall amd64_syscall
#define HANDLER calltrap
#define SYSCALL_HANDLER fast_syscall_common
#define TRAP_WORD tf_err
#define JUMP "jmp"
#define NOTHING "nop"
#define RETURN "ret"
/* What a processor does that has nothing to do; ENTER() begins a frame in assembler. */
#define IDLE "hlt"
#define ENTER "push %rbp; mov %rsp, %rbp"

#elif defined(__aarch64__)
struct pcb { u64 pcb_x[12], pcb_sp, pcb_tpidr_el0, pcb_tpidrro_el0; };
struct trapframe { u64 tf_sp, tf_lr, tf_elr, tf_spsr, tf_esr, tf_far, tf_x[30]; };
#define PCB(fp, sp, pc) { .pcb_x = { [10] = (fp), [11] = (pc) }, .pcb_sp = (sp) }
/* A data abort in EL1 by a translation that failed; x18 is the processor's struct pcpu, as TPIDR_EL1 is. */
#define FAULT(address, pc, sp, fp) \
	{ .tf_sp = (sp), .tf_elr = (pc), .tf_spsr = 0x60000005, .tf_esr = 0x96000004, .tf_far = (address), \
	  .tf_x = { [18] = (word)&cpu1, [29] = (fp) } }
#define SYSCALL(pc, sp) { .tf_sp = (sp), .tf_elr = (pc), .tf_esr = 0x56000000 }
/* Functions move more before they begin. */
#ifndef INTO
#define INTO 32
#endif
#define do_fatal data_abort
#define do_trap do_el1h_sync
#define do_syscall do_el0_sync
#define HANDLER handle_el1h_sync
#define SYSCALL_HANDLER handle_el0_sync
#define TRAP_WORD tf_esr
#define JUMP "b"
#define NOTHING "nop"
#define RETURN "ret"
#define IDLE "wfi"
#define ENTER "stp x29, x30, [sp, #-16]!; mov x29, sp"

#elif defined(__i386__)
struct pcb { int pcb_edi, pcb_esi, pcb_ebp, pcb_esp, pcb_ebx, pcb_eip; };
struct trapframe {
	int tf_fs, tf_es, tf_ds, tf_edi, tf_esi, tf_ebp, tf_isp, tf_ebx, tf_edx, tf_ecx, tf_eax;
	int tf_trapno, tf_err, tf_eip, tf_cs, tf_eflags, tf_esp, tf_ss;
};
#define PCB(fp, sp, pc) { .pcb_ebp = (fp), .pcb_esp = (sp), .pcb_eip = (pc) }
#define FAULT(address, pc, sp, fp) { .tf_trapno = 12, .tf_cs = 0x20, .tf_eip = (pc), .tf_ebp = (fp) }
#define SYSCALL(pc, sp) { .tf_cs = 0x33, .tf_eip = (pc), .tf_esp = (int)(sp) }
#define do_fatal trap_fatal
#define do_trap trap
#define do_syscall syscall
#define HANDLER calltrap
#define SYSCALL_HANDLER Xint0x80_syscall
#define TRAP_WORD tf_err
#define JUMP "jmp"
#define NOTHING "nop"
#define RETURN "ret"
#define IDLE "hlt"
#define ENTER "push %ebp; mov %esp, %ebp"
/* What handles traps has pushed where the trap frame is. */
#define PUSHED unsigned : 32

#elif defined(__riscv)
struct pcb { u64 pcb_ra, pcb_sp, pcb_gp, pcb_tp, pcb_s[12]; };
struct trapframe {
	u64 tf_ra, tf_sp, tf_gp, tf_tp, tf_t[7], tf_s[12], tf_a[8], tf_sepc, tf_sstatus, tf_stval, tf_scause;
};
#define PCB(fp, sp, pc) { .pcb_ra = (pc), .pcb_sp = (sp), .pcb_s = { (fp) } }
#define FAULT(address, pc, sp, fp) \
	{ .tf_sp = (sp), .tf_s = { (fp) }, .tf_sepc = (pc), .tf_sstatus = 0x100, .tf_stval = (address), .tf_scause = 13 }
#define SYSCALL(pc, sp) { .tf_sp = (sp), .tf_sepc = (pc), .tf_scause = 8 }
#define do_fatal page_fault_handler
#define do_trap do_trap_supervisor
#define do_syscall do_trap_user
#define HANDLER cpu_exception_handler_supervisor
#define SYSCALL_HANDLER cpu_exception_handler_user
#define TRAP_WORD tf_scause
#define JUMP "j"
#define NOTHING "nop"
#define RETURN "ret"
#define IDLE "wfi"
#define ENTER "addi sp, sp, -16; sd ra, 8(sp); sd s0, 0(sp); addi s0, sp, 16"
/* It points behind the caller's and the return address. */
#define FRAME_POINTER(record) ((word)(&(record) + 1))
#endif

#ifndef FRAME_POINTER
#define FRAME_POINTER(record) ((word)&(record))
#endif
/* Where the stack pointer is before a function makes this record: on x86 its caller has pushed a part of it. */
#if defined(__x86_64__) || defined(__i386__)
#define IDLE_STACK(record) ((word)&(record).pc)
#else
#define IDLE_STACK(record) ((word)(&(record) + 1))
#endif
#ifndef PUSHED
#define PUSHED unsigned : 0
#endif
#ifndef STOPPED_PCB
#define STOPPED_PCB PCB
#endif
