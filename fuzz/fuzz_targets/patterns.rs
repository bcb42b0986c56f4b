//! Patterns that leave files out, and changes of mode.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tree::{ModeChange, Pattern};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |&byte| byte == b'\n');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Ok(pattern) = Pattern::parse(first) {
        let _ = pattern.matches(second);
        let _ = pattern.matches(first);
    }
    let Ok(text) = std::str::from_utf8(first) else { return };
    if let Ok(change) = ModeChange::parse(text) {
        for mode in [0, 0o644, 0o755, 0o6711, 0o7777] {
            for directory in [false, true] {
                let changed = change.apply(mode, directory);
                assert!(changed <= 0o7777, "{text} makes {mode:o} {changed:o}");
            }
        }
    }
});
