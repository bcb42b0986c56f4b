//! Logs with known answers, and the same logs damaged.

mod support;

use boottrace::{By, Chart, Diff, FaultKind, LaneKind, Selection, Timeline};
use proptest::prelude::*;
use support::{boot, boots, folded, timeline, totals};

#[test]
fn the_time_of_every_call_path_is_that_of_the_maker() {
    for seed in 1..20 {
        let known = boot(seed, 3000);
        let timeline = timeline(&known.log);
        assert_eq!(totals(&folded(&timeline)), known.totals, "seed {seed}");
        assert_eq!(timeline.whole(), known.totals.values().sum::<u64>());
        // Threads that run on when the log is read are in the middle of something.
        assert!(timeline.faults.counts().all(|(kind, _)| kind == FaultKind::NoEnd));
        assert!(timeline.faults.why_incomplete().is_empty());
    }
}

#[test]
fn every_call_is_in_the_table() {
    let known = boot(7, 2000);
    let timeline = timeline(&known.log);
    let entered = known.log.lines().filter(|line| line.ends_with(" ENTER DELAY")).count();
    let calls = timeline.top(By::Frame);
    let delay = calls.iter().find(|calls| calls.name == "DELAY").expect("it was called");
    assert_eq!(delay.calls, entered as u64);
    let on_path: u64 = known
        .totals
        .iter()
        .filter(|(stack, _)| stack.split(';').any(|frame| frame == "DELAY"))
        .map(|(_, time)| time)
        .sum();
    assert_eq!(delay.on_path, on_path);
    let chain = timeline.longest_chain();
    assert_eq!(chain[0].name, "kernel");
    assert!(chain.windows(2).all(|links| links[0].total >= links[1].total));
}

#[test]
fn a_holder_that_is_waited_for_is_on_the_way() {
    // The times are those that freebsd-boot-profiling gives for the same log, with the tick by which it begins late.
    let log = "0x1 100 ENTER mi_startup\n0x2 200 THREAD g_event\n0x2 300 EVENT HOLD root mount\n0x2 400 ENTER taste\n\
        0x1 500 ENTER vfs_mountroot\n0x1 600 EVENT WAIT root mount\n0x2 650 ENTER read\n0x2 800 EXIT read\n\
        0x2 900 EXIT taste\n0x2 1000 EVENT RELEASE root mount\n0x1 1100 EVENT UNWAIT root mount\n\
        0x1 1200 EXIT vfs_mountroot\n0x1 1300 EXIT mi_startup\n0x3 1400 ENTER start_init\n0x3 1500 EXIT start_init\n";
    let timeline = timeline(log);
    let totals = totals(&folded(&timeline));
    assert_eq!(totals["kernel;mi_startup;vfs_mountroot;THREAD g_event;taste;read"], 150);
    assert_eq!(totals["kernel;mi_startup;vfs_mountroot;THREAD g_event;taste"], 149);
    assert_eq!(totals["kernel;mi_startup;vfs_mountroot;THREAD g_event"], 200);
    assert_eq!(totals["kernel;mi_startup;vfs_mountroot"], 201);
    assert_eq!(totals["kernel;mi_startup"], 500);
    assert_eq!(totals.values().sum::<u64>(), 1500);
    let waits = timeline.top(By::Wait);
    assert_eq!((waits[0].name.as_str(), waits[0].total), ("wait for root mount", 500));
}

#[test]
fn processes_go_on_where_the_kernel_has_started_init() {
    let log = "0x1 100 ENTER mi_startup\n0x1 200 EXIT mi_startup\n0x3 300 ENTER start_init\n0x3 400 EXIT start_init\n\
        0 0 0 0 \"\" \"\"\n1 0 250 0 \"init\" \"/sbin/init\"\n2 0 251 0 \"\" \"\"\n20 1 1001 5000 \"sh\" \"/bin/sh\"\n\
        21 20 1100 1500 \"\" \"/etc/rc.d/netif\"\n22 21 1200 1400 \"ifconfig\" \"x\"\n23 20 1400 1600 \"\" \"/etc/rc.d/cron\"\n\
        24 23 1450 0 \"cron\" \"x\"\n25 1 6000 0 \"getty\" \"x\"\n99999 0 0 0 \"\" \"\"\n";
    let timeline = timeline(log);
    let totals = totals(&folded(&timeline));
    assert_eq!(totals["1 init"], 1);
    assert_eq!(totals["1 init;20 /etc/rc;21 /etc/rc.d/netif;22 ifconfig"], 200);
    assert_eq!(totals["1 init;20 /etc/rc;21 /etc/rc.d/netif"], 200);
    // It began before the one before it had ended: the time in common counts once.
    assert_eq!(totals["1 init;20 /etc/rc;23 /etc/rc.d/cron"], 1600 - 1501);
    assert_eq!(timeline.whole(), 5000);
    assert!(timeline.faults.why_incomplete().is_empty(), "{:?}", timeline.faults.why_incomplete());
    let daemons: Vec<&str> =
        timeline.lanes.iter().filter(|lane| lane.kind == LaneKind::Daemon).map(|lane| lane.name.as_str()).collect();
    assert_eq!(daemons, ["beside /etc/rc", "cron", "getty"]);
}

const TABLE: &str = "

CPU      msecs      delta process                  event                                      PID CPUtime IBlks OBlks
  0       1000          0 kernel                   sysinit 0x2100001                            0    0.00     0     0
  0       1500        500 kernel                   sysinit 0x2888000                            0    0.00     0     0
  1       1700        200 swapper                  mi_startup done                              0    0.00     0     0
  0       1800        100 init                     /etc/rc starting...                          1    0.00     0     0
  0       1900        100 boottrace                /etc/rc.d/netif start                      390    0.00     0     0
  1       2900       1000 boottrace                /etc/rc.d/netif done                       390    0.12    34     0
  1       3000        100 init                     /etc/rc finished                             1    2.22   743    15
Total measured time: 2000 msecs
";

#[test]
fn a_table_gives_microseconds_by_what_is_begun_and_done() {
    let timeline = timeline(TABLE);
    let expected = "boot;sysinit 0x2100001 500000\nboot;sysinit 0x2888000 200000\nboot 100000\nboot;/etc/rc 200000\n\
        boot;/etc/rc;/etc/rc.d/netif 1000000\n";
    assert_eq!(folded(&timeline), expected);
    assert_eq!(timeline.faults.sentences(), [""; 0]);
}

#[test]
fn a_shutdown_is_found_on_the_console() {
    let log = format!(
        "---<<BOOT>>---\nlogin: root\n{}\nSyncing disks, vnodes remaining... 0 done\nUptime: 1m\n\n\n{}\
          3       9000          0 init                     shutdown pre sync begin                      1    0.00     0     0\n\
          3      12000       3000 init                     shutdown pre sync complete                   1    0.00     0     0\n\
         18      12843        843 init                     shutdown unmounted all filesystems           1    0.00     0     0\n\
         Total measured time: 3843 msecs\n---<<BOOT>>---\nnext\n",
        TABLE.trim_start(),
        "CPU      msecs      delta process                  event                                      PID CPUtime IBlks OBlks\n"
    );
    let timeline = timeline(&log);
    let totals = totals(&folded(&timeline));
    assert_eq!(totals["shutdown;shutdown pre sync"], 3_000_000);
    assert_eq!(totals["shutdown;shutdown unmounted all filesystems"], 843_000);
    assert_eq!(timeline.whole(), 2_000_000);
    assert_eq!(timeline.faults.sentences(), [""; 0]);
}

#[test]
fn a_table_that_is_not_whole_is_said_to_be_none() {
    let cut = TABLE.split("  1       2900").next().expect("it has that line");
    assert_eq!(timeline(cut).faults.why_incomplete(), ["a table of BootTrace has no last line: it is cut"]);
    let lost = TABLE.replace("  0       1500        500 kernel                   sysinit 0x2888000                            0    0.00     0     0\n", "");
    assert_eq!(timeline(&lost).faults.count(FaultKind::MissingEvents), 1);
    let mut full = String::from("CPU msecs delta process event PID CPUtime IBlks OBlks\n");
    for at in 0..999 {
        full.push_str(&format!(
            "  0 {} {} init                     shutdown {at} 1 0.00 0 0\n",
            1000 + at,
            u64::from(at > 0)
        ));
    }
    full.push_str("Total measured time: 998 msecs\n");
    assert!(timeline(&full).faults.why_incomplete()[0].contains("shutdown table is full (999 events)"));
}

#[test]
fn a_console_with_times_and_no_trace_gives_a_coarse_profile() {
    let log = "[1.000000] Consoles: serial\n[2.500000] ---<<BOOT>>---\n[2.600000] CPU: x\n[5.600000] Setting hostuuid: x\n[6.600000] login:\n";
    let timeline = timeline(log);
    let expected = "loader;Consoles: serial 1500000\nkernel;---<<BOOT>>--- 100000\nkernel;CPU: x 3000000\nuserland;Setting hostuuid: x 1000000\n";
    assert_eq!(folded(&timeline), expected);
}

#[test]
fn damage_is_counted_and_told() {
    let log = "0x1 100 ENTER mi_startup\nuhub0: noise\n0x1 200 EXIT never\n0x1 300 ENTER a\n0x1 400 ENTER b\n0x1 45\n\
        0x1 500 EXIT a\nda0: x0x1 600 ENTER open\n0x1 700 ENTER tail\n0x1 50 EXIT tail\n";
    let timeline = timeline(log);
    let count = |kind| timeline.faults.count(kind);
    assert_eq!(count(FaultKind::Noise), 1);
    assert_eq!(count(FaultKind::UnmatchedExit), 1);
    assert_eq!(count(FaultKind::MissingExit), 1);
    assert_eq!(count(FaultKind::HalfLine), 1);
    assert_eq!(count(FaultKind::Joined), 1);
    assert_eq!(count(FaultKind::ClockBack), 1);
    assert_eq!(count(FaultKind::NoEnd), 2);
    assert!(timeline.faults.why_incomplete()[0].starts_with("start_init is not in the log"));
    assert_eq!(timeline.lanes.iter().map(|lane| lane.marks.len()).sum::<usize>(), 1);
}

#[test]
fn a_full_buffer_is_told() {
    let mut log = String::from("0x1 1 ENTER mi_startup\n");
    for at in 0..262_143u64 {
        log.push_str(&format!("0x1 {} {} DELAY\n", 2 + at, if at % 2 == 0 { "ENTER" } else { "EXIT" }));
    }
    let timeline = timeline(&log);
    assert!(timeline.faults.why_incomplete()[0].contains("buffer is full (262144 records)"));
}

#[test]
fn parts_add_up_to_the_whole() {
    let known = boot(3, 1000);
    let whole = timeline(&known.log);
    let half = whole.end / 2;
    let first = whole.clone().select(&Selection { until: Some(half), ..Selection::default() });
    let second = whole.clone().select(&Selection { since: Some(half), ..Selection::default() });
    assert_eq!(first.whole() + second.whole(), whole.whole());
    let flat = whole.clone().select(&Selection { depth: Some(1), ..Selection::default() });
    let totals = totals(&folded(&flat));
    assert_eq!(totals.keys().collect::<Vec<_>>(), ["BIOS", "kernel", "main"]);
    assert_eq!(totals.values().sum::<u64>(), whole.whole());
    let threads = whole.clone().select(&Selection { threads: vec!["TASKQ".into()], ..Selection::default() });
    assert!(!threads.lanes.is_empty() && threads.lanes.iter().all(|lane| lane.name == "taskq"));
}

fn svg(timeline: &Timeline) -> Vec<u8> {
    let mut out = Vec::new();
    Chart::new(&[("log".to_owned(), timeline.clone())]).write_svg(&mut out).expect("memory can be written");
    out
}

fn everything(log: &[u8]) {
    for log in boottrace::read(log) {
        let Ok(timeline) = log.timeline(None) else { continue };
        check(&timeline);
        let part = Selection { since: Some(10), until: Some(10_000), depth: Some(3), ..Selection::default() };
        let part = timeline.clone().select(&part);
        check(&part);
        let mut out = Vec::new();
        timeline.write_chrome(&mut out).expect("memory can be written");
        serde_json::from_slice::<serde_json::Value>(&out).expect("it is JSON");
        out.clear();
        timeline.write_speedscope("x", &mut out).expect("memory can be written");
        serde_json::from_slice::<serde_json::Value>(&out).expect("it is JSON");
        out.clear();
        timeline.write_json(&mut out).expect("memory can be written");
        serde_json::from_slice::<serde_json::Value>(&out).expect("it is JSON");
        assert_eq!(svg(&timeline), svg(&timeline));
        let chart = Chart::new(&[("a".to_owned(), timeline.clone()), ("b".to_owned(), part.clone())]);
        chart.write_html(&mut out).expect("memory can be written");
        if let Ok(diff) = Diff::new(&[("a".to_owned(), timeline.clone())], &[("b".to_owned(), part)]) {
            diff.write_html("diff", &mut out).expect("memory can be written");
        }
    }
}

/// What always holds.
fn check(timeline: &Timeline) {
    assert!(timeline.path.iter().all(|segment| segment.start < segment.end));
    assert!(timeline.path.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert_eq!(totals(&folded(timeline)).values().sum::<u64>(), {
        timeline.path.iter().chain(&timeline.beside).map(|segment| segment.end - segment.start).sum::<u64>()
    });
    for lane in &timeline.lanes {
        assert!(lane.spans.windows(2).all(|pair| pair[0].start <= pair[1].start));
        let mut around: Vec<(u64, u64)> = Vec::new();
        for span in &lane.spans {
            assert!(span.start <= span.end);
            around.truncate(usize::from(span.depth));
            if let Some(&(start, end)) = around.last() {
                assert!(start <= span.start && span.end <= end, "{lane:?}");
            }
            around.push((span.start, span.end));
        }
        assert!(lane.segments().windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
    timeline.top(By::Frame);
    timeline.top(By::Wait);
    timeline.longest_chain();
}

#[test]
fn a_log_that_was_cut_anywhere_is_read() {
    let known = boot(11, 60);
    let log = format!("{}{TABLE}1 0 5 0 \"init\" \"\"\n20 1 900000 990000 \"sh\" \"\"\n", known.log);
    for end in (0..log.len()).step_by(7) {
        everything(&log.as_bytes()[..end]);
        everything(&log.as_bytes()[end..]);
    }
}

fn line() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "a x", "mi_startup", "start_init", "DELAY", "hammer_time"]);
    let event = prop::sample::select(vec!["WAIT t", "UNWAIT t", "HOLD t", "RELEASE t", "x"]);
    let kind = prop::sample::select(vec!["ENTER", "EXIT", "EXIT", "ENTER", "THREAD"]);
    let time = prop_oneof![0u64..2000, 0u64..2000, 0..u64::MAX >> 12];
    prop_oneof![
        8 => (0u64..4, time.clone(), kind, label).prop_map(|(td, time, kind, label)| format!("{td:#x} {time} {kind} {label}")),
        3 => (0u64..4, time.clone(), event).prop_map(|(td, time, event)| format!("{td:#x} {time} EVENT {event}")),
        2 => (0u64..9, 0u64..9, time.clone(), time.clone()).prop_map(|(pid, parent, a, b)| format!("{pid} {parent} {a} {b} \"sh\" \"x\"")),
        1 => (time.clone(), 0u64..3, 0u64..3).prop_map(|(time, pid, way)| {
            let event = ["a start", "a done", "sysinit 0x1"][way as usize];
            format!("  0 {time:>10} {:>10} {:<24} {event:<40} {pid:>5}    0.00     0     0", 0, "kernel")
        }),
        1 => ".{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_a_log_says_its_timeline_is_sound(lines in prop::collection::vec(line(), 0..60)) {
        everything(lines.join("\n").as_bytes());
    }
}

#[test]
fn several_boots_in_a_capture_are_several_timelines() {
    let log = format!("---<<BOOT>>---\n{}\n---<<BOOT>>---\n{}", boot(1, 100).log, boot(2, 100).log);
    assert_eq!(boots(&log).len(), 2);
}
