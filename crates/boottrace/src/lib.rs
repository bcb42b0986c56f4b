//! FreeBSD's boot and shutdown traces: what is in a log, where the time went, and pictures of it.
//!
//! [`read`] finds all traces in the bytes of a file: `debug.tslog` and `debug.tslog_user` (TSLOG), `kern.boottrace.log`
//! (BootTrace), and captures of a console with any of these among other text, or with nothing but times before its lines.
//! Each boot is a [`Log`], which [`Log::timeline`] turns into a [`Timeline`]: lanes of nested spans, and the way to a
//! booted system, waits followed.
//!
//! A damaged log is no error: what is wrong is kept and counted in [`Timeline::faults`].
//!
//! ```
//! let log = b"0x1 1000 ENTER mi_startup\n0x1 1100 ENTER DELAY\n0x1 1700 EXIT DELAY\n0x1 2000 EXIT mi_startup\n";
//! let timeline = boottrace::read(log).remove(0).timeline(Some(1_000)).unwrap();
//! let mut folded = Vec::new();
//! timeline.write_folded(&mut folded).unwrap();
//! assert_eq!(
//!     String::from_utf8(folded).unwrap(),
//!     "BIOS 1000\nkernel;mi_startup 400\nkernel;mi_startup;DELAY 600\n"
//! );
//! ```

mod build;
mod chart;
mod clock;
mod console;
mod diff;
mod export;
mod faults;
mod line;
mod log;
mod mainline;
mod names;
mod process;
mod processes;
mod select;
mod stacks;
mod table;
mod tables;
mod threads;
mod timeline;
mod top;
mod tslog;

pub use build::Error;
pub use chart::Chart;
pub use clock::{Clock, Unit, show_seconds};
pub use diff::{Diff, DiffError, DiffUnit, PathDiff, Spread, change};
pub use faults::{Fault, FaultKind, Faults};
pub use log::{Log, Source, read};
pub use names::{Name, Names};
pub use select::{FrameKind, Selection};
pub use stacks::{Stack, Stacks};
pub use table::TableKind;
pub use timeline::{Ending, Lane, LaneKind, Mark, MarkKind, Segment, Span, Timeline};
pub use top::{By, Calls, Link};
