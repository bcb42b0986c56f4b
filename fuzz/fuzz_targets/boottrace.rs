//! Logs of all kinds: whatever is in them, their timelines are sound and can be drawn, exported and compared.
#![no_main]

use std::io::sink;

use boottrace::{By, Chart, Diff, Selection};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for log in boottrace::read(data) {
        let Ok(timeline) = log.timeline(None) else { continue };
        assert!(timeline.path.iter().all(|segment| segment.start < segment.end));
        assert!(timeline.path.windows(2).all(|pair| pair[0].end <= pair[1].start));
        for lane in &timeline.lanes {
            assert!(lane.spans.windows(2).all(|pair| pair[0].start <= pair[1].start));
            assert!(lane.segments().windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
        for by in [By::Frame, By::Function, By::Driver, By::Rc, By::Wait] {
            timeline.top(by);
        }
        let part = Selection { since: Some(100), until: Some(1000), depth: Some(2), ..Selection::default() };
        let part = timeline.clone().select(&part);
        timeline.write_folded(&mut sink()).expect("nothing can fail");
        timeline.write_chrome(&mut sink()).expect("nothing can fail");
        timeline.write_speedscope("log", &mut sink()).expect("nothing can fail");
        timeline.write_json(&mut sink()).expect("nothing can fail");
        let boots = [("log".to_owned(), timeline), ("part".to_owned(), part)];
        Chart::new(&boots).write_html(&mut sink()).expect("nothing can fail");
        if let Ok(diff) = Diff::new(&boots[..1], &boots[1..]) {
            diff.write_html("diff", &mut sink()).expect("nothing can fail");
        }
    }
});
