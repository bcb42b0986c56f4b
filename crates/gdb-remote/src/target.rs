//! What a server shows.

use crate::registers::Architecture;

/// A thread's number, as GDB sees it. It is not 0, which means "any" there.
pub type ThreadId = u64;

/// Threads, registers and memory of something that stands still, such as a kernel's dump.
pub trait Target {
    /// Its processor, which says what registers there are.
    fn architecture(&self) -> Architecture;

    /// Its threads, the one of interest first. At least one.
    fn threads(&self) -> Vec<ThreadId>;

    /// What people call a thread.
    fn thread_name(&self, thread: ThreadId) -> Option<String>;

    /// The registers of a thread, by their numbers in [`Architecture::registers`]: `None` for those that are not known,
    /// as for all beyond the end and all of more than 64 bits.
    fn registers(&self, thread: ThreadId) -> Vec<Option<u64>>;

    /// Reads memory at a virtual address, and says how much could be read before the first byte that is not there.
    fn read(&self, address: u64, buf: &mut [u8]) -> usize;

    /// How far the kernel lies from where its file says, in bytes.
    fn slide(&self) -> u64 {
        0
    }

    /// What is loaded beside the kernel: a name and the address of its text.
    fn modules(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// What a command of `monitor` says, and `None` if there is no such command.
    fn monitor(&self, _command: &str) -> Option<String> {
        None
    }
}
