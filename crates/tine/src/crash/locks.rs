//! `tine crash locks`: who waits for whom.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use clap::Args;
use crash::locks::{Chain, Held, Lock, LockState, Locks as Found, Party};

use super::{Session, processes, report};
use crate::failure::Failure;
use crate::output::{self, plural};

const HEADING: Style = Style::new().bold();
const ALARM: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));

/// Show locks: who holds which, who waits for whom, and deadlocks
///
/// Which locks are held that nobody waits for is known only of kernels with WITNESS. Ends with status 1 if there is a
/// deadlock.
#[derive(Debug, Args)]
pub(super) struct Locks {}

impl Locks {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let locks = Found::of(session.crash, &processes::read(session)?);
        if session.json {
            output::print_json(&locks)?;
        } else {
            output::warn("tine", &locks.problems);
            output::print(&text(&locks))?;
        }
        if locks.deadlocks.is_empty() { Ok(()) } else { Err(Failure::Found) }
    }
}

/// All of it; a sentence if there is nothing.
fn text(locks: &Found) -> String {
    let mut text = String::new();
    for deadlock in &locks.deadlocks {
        let _ = writeln!(text, "{ALARM}Deadlock{ALARM:#}: {}", report::visible(deadlock));
    }
    if !locks.contested.is_empty() {
        let _ = writeln!(text, "{HEADING}Locks that somebody waits for{HEADING:#}");
        text += &locks.contested.iter().map(lock).collect::<String>();
        let _ = writeln!(text, "\n{HEADING}Who waits for whom{HEADING:#}");
        text += &locks.chains.iter().map(|chain| self::chain(chain, &locks.contested)).collect::<String>();
    }
    if !locks.held.is_empty() {
        let known = if locks.complete { "" } else { ", as far as somebody waits for them" };
        let _ = writeln!(text, "{}{HEADING}Locks that are held{known}{HEADING:#}", gap(&text));
        text += &locks
            .held
            .iter()
            .map(|held| format!("  {}: {}\n", self::held(held), party(&held.thread)))
            .collect::<String>();
    }
    if locks.contested.is_empty() {
        let _ = writeln!(text, "{}nobody waits for a lock", gap(&text));
    }
    if !locks.complete {
        text += "locks that nobody waits for are not known: the kernel was made without WITNESS\n";
    }
    text
}

fn gap(before: &str) -> &'static str {
    if before.is_empty() { "" } else { "\n" }
}

/// A lock and those that wait for it.
pub(super) fn lock(lock: &Lock) -> String {
    let symbol = lock.symbol.as_ref().map(|symbol| format!(" <{symbol}>")).unwrap_or_default();
    let state = state(lock);
    let mut text =
        format!("  {} ({}) at {:#x}{symbol}, {state}\n", report::visible(&lock.name), lock.class, lock.address);
    for waiter in &lock.waiters {
        let _ = writeln!(text, "      waits: {}", party(waiter));
    }
    text
}

fn state(lock: &Lock) -> String {
    match (lock.state, &lock.owner) {
        (LockState::Exclusive, Some(owner)) => format!("held by {}", party(owner)),
        (LockState::Exclusive, None) => "held by a thread that is not known".to_owned(),
        (LockState::Shared(count), _) => format!("shared by {}", plural(count, "thread")),
        (LockState::Kernel, _) => "held by the kernel".to_owned(),
        (LockState::Free, _) => "free".to_owned(),
        (LockState::Destroyed, _) => "destroyed".to_owned(),
        (LockState::Unknown, _) => "of a class that is not known".to_owned(),
    }
}

/// A lock that is held, without who holds it.
pub(super) fn held(held: &Held) -> String {
    let how = if held.exclusive { "exclusive" } else { "shared" };
    let taken = held.taken.as_ref().map(|place| format!(", taken at {}", super::stack::short(place)));
    let name = report::visible(&held.name);
    format!("{name} ({}) at {:#x}, {how}{}", held.class, held.address, taken.unwrap_or_default())
}

fn chain(chain: &Chain, locks: &[Lock]) -> String {
    let mut text = String::new();
    for (depth, link) in chain.links.iter().enumerate() {
        let is_last = depth + 1 == chain.links.len() && !chain.deadlock;
        let lock = locks.iter().find(|lock| Some(lock.address) == link.lock).filter(|_| is_last);
        let waits = link.waits.as_deref().map(report::visible);
        let what = match (waits, &link.class) {
            (Some(waits), Some(class)) => match lock {
                Some(lock) => format!(" waits for {waits} ({class}), {}", state(lock)),
                None => format!(" waits for {waits} ({class}), held by"),
            },
            (Some(waits), None) => format!(" sleeps on {waits}"),
            (None, _) => format!(" is in state {}", link.state),
        };
        let _ = writeln!(text, "  {}{}{what}", "  ".repeat(depth), party(&link.thread));
    }
    let end = if chain.deadlock {
        Some(format!("{ALARM}the first: a deadlock{ALARM:#}"))
    } else {
        chain.links.last().and_then(|link| locks.iter().find(|lock| Some(lock.address) == link.lock)).map(holder)
    };
    if let Some(end) = end {
        let _ = writeln!(text, "  {}{end}", "  ".repeat(chain.links.len()));
    }
    text
}

/// Who holds a lock at which a chain ends that is no deadlock itself.
fn holder(lock: &Lock) -> String {
    match (lock.state, &lock.owner) {
        // Chains go on with the owner, unless they have been there.
        (LockState::Exclusive, Some(owner)) => format!("{}, as above: {ALARM}a deadlock{ALARM:#}", party(owner)),
        (LockState::Shared(count), _) => format!("{}, whose names are not known", plural(count, "reader")),
        (LockState::Kernel, _) => "the kernel".to_owned(),
        _ => "a thread that is not known".to_owned(),
    }
}

fn party(party: &Party) -> String {
    let name = if party.name == party.process || party.name.is_empty() {
        party.process.clone()
    } else {
        format!("{}/{}", party.process, party.name)
    };
    format!("thread {} {} (pid {})", party.tid, report::visible(&name), party.pid)
}
