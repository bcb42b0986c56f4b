//! One memory with everything in it, for each kind of machine.

use super::{Forge, Kind};

/// A forged machine, and what is where in it.
pub struct Golden {
    /// The machine.
    pub forge: Forge,
    /// Virtual addresses, each with what is there: text that ends in a NUL.
    pub texts: Vec<(u64, String)>,
    /// Where physical memory has text that only the direct map shows.
    pub direct_only: (u64, String),
    /// A virtual address that is mapped to memory which is not in minidumps.
    pub absent: u64,
    /// A virtual address at which nothing is mapped, between others that are.
    pub unmapped: u64,
    /// The virtual address of the message buffer's structure.
    pub message_buffer: u64,
    /// What the message buffer holds.
    pub messages: String,
    /// The part of it that nobody had read.
    pub unread: String,
}

/// A machine with small and large pages, a page that is mapped and absent, one that is there and not mapped, and a
/// message buffer that has wrapped around, of a size that is no multiple of the page size.
pub fn golden(kind: Kind) -> Golden {
    let mut forge = Forge::new(kind);
    let ram = kind.ram_base();
    let base = forge.kernel_base();
    let page = kind.page_size();
    let mut texts = Vec::new();

    // Small pages, in an order other than that of physical memory.
    for (at, physical) in [0x14_0000, 0x12_0000, 0x13_0000, 0x1_0000].into_iter().enumerate() {
        let address = base + at as u64 * page;
        forge.map(address, ram + physical, kind.page_shift());
        texts.push((address + 16, format!("small page {at}")));
    }
    // Two small pages that follow each other both ways, and text across their border.
    let pair = base + 0x10 * page;
    forge.map(pair, ram + 0x20_0000, kind.page_shift());
    forge.map(pair + page, ram + 0x20_0000 + page, kind.page_shift());
    texts.push((pair + page - 6, "across the border".to_string()));
    // A large page where there is room for one: the second size, unless that is all of memory.
    let large = kind.page_shifts()[1];
    if large <= 22 {
        let size = 1 << large;
        let address = base + 4 * size.max(1 << 22);
        forge.map(address, ram + 0x80_0000, large);
        texts.push((address + size - 100, "large page".to_string()));
    }
    // Memory that is no memory: a device.
    let absent = base + 0x20 * page;
    forge.map(absent, ram + 0xb_0000 & !(page - 1), kind.page_shift());
    // Left out on purpose.
    let left_out = base + 0x21 * page;
    forge.map(left_out, ram + 0x30_0000, kind.page_shift());
    forge.leave_out(ram + 0x30_0000);
    // The kernel, where amd64 has it.
    if let Some(kernel) = kind.kernel_image() {
        forge.map(kernel, ram + 0x200_0000, 21);
        forge.write(kernel, b"\x7fELF");
        texts.push((kernel + 0x1000, "FreeBSD forged kernel".to_string()));
    }
    for (address, text) in &texts {
        forge.write(*address, text.as_bytes());
        forge.write(*address + text.len() as u64, &[0]);
    }
    let direct_only = (ram + 0x40_0000 + 8, "only the direct map shows this".to_string());
    forge.write_physical(direct_only.0, direct_only.1.as_bytes());
    forge.keep(direct_only.0);

    let size = 3 * page - 72;
    let message_buffer = forge.message_buffer(ram + 0x50_0000, base + 0x40 * page, size);
    let mut printed = String::new();
    while printed.len() < size as usize + 1000 {
        let line = format!("<6>line {} of the message buffer\n", printed.len());
        forge.print(&line);
        printed += &line;
    }
    forge.read_messages();
    let unread = "panic: forged\ncpuid = 0\n".to_string();
    forge.print(&unread);
    printed += &unread;
    let messages = printed.split_off(printed.len() - size as usize);

    Golden { absent, unmapped: base + 8 * page, direct_only, message_buffer, messages, unread, texts, forge }
}
