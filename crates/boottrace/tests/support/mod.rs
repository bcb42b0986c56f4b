//! Logs made with known answers.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fmt::Write;

/// Numbers that are the same for the same seed (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

/// The way of a boot, and the time that each call path has on it.
pub struct Known {
    pub log: String,
    /// Ticks by folded stack.
    pub totals: BTreeMap<String, u64>,
    /// Records in the log.
    pub records: usize,
}

const FUNCTIONS: [&str; 8] = [
    "DELAY",
    "DEVICE_PROBE pci",
    "DEVICE_ATTACH pci",
    "SYSINIT configure2",
    "SYSINIT vfs a b",
    "_vprintf",
    "vm_fault",
    "DEVICE_ATTACH acpi",
];

/// The log of a boot without waits: loader, kernel and `init` after each other, other threads beside them. What each call
/// path has is counted while the log is made, from the state that the maker itself keeps.
pub fn boot(seed: u64, records: usize) -> Known {
    let mut maker = Maker {
        random: Random::new(seed),
        log: String::new(),
        totals: BTreeMap::new(),
        now: 0,
        made: 0,
        way: Vec::new(),
    };
    let start = 10_000 + maker.random.below(100_000);
    maker.totals.insert("BIOS".to_owned(), start);
    maker.now = start;
    // The loader's frames stand alone, and its last one is never left: the kernel takes over.
    maker.line("0x0", "ENTER", "main");
    maker.way = vec!["main".to_owned()];
    for _ in 0..4 {
        maker.enter("0x0", "load");
        maker.leave("0x0", true);
    }
    let kernel = "0xffffffff80b81b00";
    maker.pass();
    maker.way = vec!["kernel".to_owned()];
    maker.enter_now(kernel, "hammer_time");
    maker.leave(kernel, true);
    maker.enter(kernel, "mi_startup");
    let mut others: Vec<(String, Vec<&'static str>)> = Vec::new();
    while maker.made < records.saturating_sub(40) {
        match maker.random.below(20) {
            0 if others.len() < 12 => {
                let thread = format!("0xfffff8000211{:04x}", others.len() * 0x740);
                maker.other(&thread, "THREAD", "taskq");
                others.push((thread, Vec::new()));
            }
            1..=6 if !others.is_empty() => {
                let at = maker.random.below(others.len() as u64) as usize;
                let (thread, mut open) = others[at].clone();
                if open.len() < 5 && maker.random.below(2) == 0 {
                    let function = FUNCTIONS[maker.random.below(8) as usize];
                    maker.other(&thread, "ENTER", function);
                    open.push(function);
                } else if let Some(function) = open.pop() {
                    maker.other(&thread, "EXIT", function);
                }
                others[at].1 = open;
            }
            _ if maker.way.len() < 8 && maker.random.below(2) == 0 => {
                let function = FUNCTIONS[maker.random.below(8) as usize];
                maker.enter(kernel, function);
            }
            _ if maker.way.len() > 2 => {
                let with_text = maker.random.below(10) > 0;
                maker.leave(kernel, with_text);
            }
            _ => {}
        }
    }
    while maker.way.len() > 1 {
        maker.leave(kernel, true);
    }
    let init = "0xfffff8000211e000";
    maker.enter(init, "start_init");
    maker.enter(init, "vfs_mountroot");
    maker.leave(init, true);
    maker.leave(init, true);
    maker.totals.retain(|_, time| *time > 0);
    Known { log: maker.log + "\0", totals: maker.totals, records: maker.made }
}

struct Maker {
    random: Random,
    log: String,
    totals: BTreeMap<String, u64>,
    now: u64,
    made: usize,
    /// What is open on the way.
    way: Vec<String>,
}

impl Maker {
    fn line(&mut self, thread: &str, kind: &str, label: &str) {
        writeln!(self.log, "{thread} {} {kind} {label}", self.now).expect("memory can be written");
        self.made += 1;
    }

    /// Lets time pass, which is that of what is open on the way.
    fn pass(&mut self) {
        let time = 1 + self.random.below(3000);
        self.now += time;
        *self.totals.entry(self.way.join(";")).or_default() += time;
    }

    fn enter(&mut self, thread: &str, label: &str) {
        self.pass();
        self.enter_now(thread, label);
    }

    fn enter_now(&mut self, thread: &str, label: &str) {
        self.line(thread, "ENTER", label);
        self.way.push(label.to_owned());
    }

    fn leave(&mut self, thread: &str, with_text: bool) {
        self.pass();
        let label = self.way.pop().expect("something is open");
        let label = if with_text { label.as_str() } else { label.split(' ').next().unwrap_or_default() };
        self.line(thread, "EXIT", label);
    }

    fn other(&mut self, thread: &str, kind: &str, label: &str) {
        self.pass();
        self.line(thread, kind, label);
    }
}

/// The totals of folded stacks.
pub fn totals(folded: &str) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for line in folded.lines() {
        let (stack, time) = line.rsplit_once(' ').expect("a line has a count");
        *totals.entry(stack.to_owned()).or_default() += time.parse::<u64>().expect("it is a number");
    }
    totals
}

/// The boots of a log.
pub fn boots(log: &str) -> Vec<boottrace::Timeline> {
    let logs = boottrace::read(log.as_bytes()).into_iter().filter(boottrace::Log::has_times);
    logs.map(|log| log.timeline(None).expect("it has a trace")).collect()
}

/// The only boot of a log.
#[track_caller]
pub fn timeline(log: &str) -> boottrace::Timeline {
    let mut boots = boots(log);
    assert_eq!(boots.len(), 1);
    boots.remove(0)
}

pub fn folded(timeline: &boottrace::Timeline) -> String {
    let mut out = Vec::new();
    timeline.write_folded(&mut out).expect("memory can be written");
    String::from_utf8(out).expect("it is text")
}
