//! `tine boot` as its users meet it: made logs, a real one, the scripts that it takes the place of, and a browser.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::command::{self, Ran};
use common::peer::{self, Peer};
use serde_json::Value;
use tempfile::TempDir;

#[path = "../crates/crash/tests/support/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod kernel;
#[path = "../crates/boottrace/tests/support/mod.rs"]
mod support;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// A directory of a test's own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("a file can be written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the file is there")
    }

    fn tine(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(TINE);
        command.arg("boot").args(arguments).current_dir(self.0.path());
        command::run(&mut command, LIMIT)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.tine(arguments).succeeds().text()).expect("it is JSON")
    }
}

/// A boot of some milliseconds, of which `delay` ticks are one delay.
fn log(delay: u64) -> String {
    format!(
        "0x1 1000000 ENTER mi_startup\n0x1 1100000 ENTER DEVICE_ATTACH atkbd\n0x1 1200000 ENTER DELAY\n0x1 {} EXIT DELAY\n\
         0x1 {} EXIT DEVICE_ATTACH atkbd\n0x1 {} EXIT mi_startup\n0x2 {} ENTER start_init\n0x2 {} EXIT start_init\n",
        1_200_000 + delay,
        1_300_000 + delay,
        1_400_000 + delay,
        1_500_000 + delay,
        1_600_000 + delay
    )
}

/// The real log and console beside the project.
fn corpus(test: &str) -> Option<[PathBuf; 2]> {
    let folder = peer::corpus(test)?.join("boot");
    Some(["tslog-amd64-12.1-1cpu.txt", "console-amd64-12.1-1cpu.txt"].map(|name| folder.join(name)))
}

#[test]
fn folded_stacks_have_the_known_totals() {
    let place = Place::new();
    for seed in 1..4 {
        let known = support::boot(seed, 5000);
        place.write("tslog", &known.log);
        let ran = place.tine(&["export", "--format", "folded", "tslog"]).succeeds();
        assert_eq!(support::totals(&ran.text()), known.totals);
    }
}

#[test]
fn a_log_is_read_from_standard_input() {
    let place = Place::new();
    place.write("tslog", log(1_000_000));
    let mut command = Command::new("sh");
    command.args(["-c", "\"$0\" boot export - < tslog", TINE]).current_dir(place.0.path());
    let text = command::run(&mut command, LIMIT).succeeds().text();
    assert!(text.contains("kernel;mi_startup;DEVICE_ATTACH atkbd;DELAY 1000000\n"), "{text}");
}

#[test]
fn the_table_names_what_takes_time() {
    let place = Place::new();
    place.write("tslog", log(1_000_000));
    let told = place.json(&["top", "--json", "--tsc-freq", "1GHz", "tslog"]);
    let delay = &told["calls"].as_array().expect("a list")[1];
    assert_eq!(delay["name"], "DELAY");
    assert_eq!(delay["self"], 1_000_000);
    assert_eq!(delay["self_seconds"], 0.001);
    assert_eq!(delay["kind"], "wait");
    assert_eq!(told["waits"][0]["within"], "DEVICE_ATTACH atkbd");
    assert_eq!(told["drivers"][0]["name"], "atkbd");
    assert_eq!(told["whole"], 2_600_000);
    let text = place.tine(&["top", "tslog"]).succeeds();
    assert!(text.text().contains("1.000 Mticks"), "{text}");
    assert!(text.errors().contains("the frequency of the clock is not in the log"), "{text}");
}

#[test]
fn parts_of_one_boot_may_lie_in_several_files() {
    let place = Place::new();
    place.write("tslog", log(1_000_000));
    place.write(
        "user",
        "1 0 5 0 \"init\" \"\"\n20 1 3000000 4000000 \"sh\" \"\"\n21 20 3100000 3900000 \"\" \"/etc/rc.d/netif\"\n",
    );
    place.write("console", "Timecounter \"TSC\" frequency 1000000000 Hz quality 1\n");
    let told = place.json(&["top", "--json", "tslog", "user", "console"]);
    assert_eq!(told["whole_seconds"], 0.004);
    assert_eq!(told["rc_scripts"][0]["name"], "/etc/rc.d/netif");
    // All in one capture is the same.
    place.write("capture", ["login: root\r\n", &place.read("console"), &log(1_000_000), &place.read("user")].concat());
    let captured = place.json(&["top", "--json", "capture"]);
    assert_eq!(captured["calls"], told["calls"]);
}

#[test]
fn damage_and_missing_ends_are_told() {
    let place = Place::new();
    place.write("tslog", log(1_000_000).replace("0x2", "usb: 0x2").split(" EXIT start_init").next().expect("text"));
    let ran = place.tine(&["export", "tslog"]).succeeds();
    for told in ["record follows other text", "record is cut", "start_init does not end in the log"] {
        assert!(ran.errors().contains(told), "{told}\n{ran}");
    }
    place.write("nothing", "hello\n");
    let ran = place.tine(&["top", "nothing"]).ends_with(3);
    assert!(ran.errors().contains("no boot trace was found"), "{ran}");
    place.write("two", [log(5).replace("0x1 1000000 ENTER mi_startup\n", "0x1 9 ENTER mi_startup\n"), log(5)].concat());
    place.write("several", ["---<<BOOT>>---\n", &log(5), "---<<BOOT>>---\n", &log(7)].concat());
    let ran = place.tine(&["top", "several"]).ends_with(2);
    assert!(ran.errors().contains("traces of 2 boots: choose one with --boot 1 to 2"), "{ran}");
    place.tine(&["top", "several", "--boot", "2"]).succeeds();
}

#[test]
fn a_slower_boot_fails_a_limit() {
    let place = Place::new();
    place.write("before", log(1_000_000));
    place.write("now", log(1_500_000));
    let given = ["--tsc-freq", "1GHz"];
    let diff = |more: &[&str]| place.tine(&[&["diff"][..], &given[..], more].concat());
    let ran = diff(&["before", "now"]).succeeds();
    assert!(ran.text().contains("+500.000 us (+19.2 %): slower"), "{ran}");
    assert!(ran.text().contains("kernel;mi_startup;DEVICE_ATTACH atkbd;DELAY"), "{ran}");
    diff(&["before", "now", "--fail-over", "400us"]).ends_with(1);
    diff(&["before", "now", "--fail-over", "600us"]).ends_with(0);
    diff(&["before", "now", "--fail-over", "5%"]).ends_with(1);
    diff(&["before", "now", "--fail-over", "20%"]).ends_with(0);
    diff(&["now", "before", "--fail-over", "0%"]).ends_with(0);
    // What varies by itself is no difference.
    place.write("before2", log(1_600_000));
    let several = ["--base", "before", "before2", "--new", "now", "now"];
    let ran = diff(&[&several[..], &["--fail-over", "1%"]].concat()).ends_with(0);
    assert!(ran.text().contains("within noise"), "{ran}");
    let told: Value = serde_json::from_str(&diff(&["--json", "before", "now"]).succeeds().text()).expect("it is JSON");
    assert_eq!(told["change"], 500_000);
    assert_eq!(told["verdict"], "slower");
    place.tine(&["diff", "before"]).ends_with(2);
    let ran = place.tine(&["diff", "before", "now", "--fail-over", "1ms"]).ends_with(2);
    assert!(ran.errors().contains("--tsc-freq"), "{ran}");
}

#[test]
fn charts_are_whole_files_and_always_the_same() {
    let place = Place::new();
    place.write("tslog", support::boot(5, 2000).log);
    place.write("other", support::boot(6, 2000).log);
    let draw = |name: &str, logs: &[&str]| {
        place.tine(&[&["chart", "--force", "-o", name], logs].concat()).succeeds();
        place.read(name)
    };
    let svg = draw("a.svg", &["tslog"]);
    assert_eq!(draw("b.svg", &["tslog"]), svg);
    assert!(svg.ends_with("</svg>\n") && svg.contains("prefers-color-scheme: dark"));
    assert!(!svg.contains("href=") && !svg.contains("src="), "it needs another file");
    let html = draw("a.html", &["tslog", "other"]);
    assert!(html.contains("The critical path") && html.matches("<section>").count() == 2);
    place.tine(&["chart", "tslog", "-o", "a.svg"]).ends_with(3);
    place.tine(&["chart", "tslog", "-o", "a.png"]).ends_with(2);
    place.tine(&["diff", "tslog", "other", "-o", "diff.html"]).succeeds();
    assert!(place.read("diff.html").contains("What differs"));
}

#[test]
fn the_chart_of_a_small_log_is_the_golden_one() {
    let place = Place::new();
    place.write("tslog", log(1_000_000));
    place.tine(&["chart", "--tsc-freq", "1GHz", "-o", "small.svg", "tslog"]).succeeds();
    // Style and script are files of their own in the project.
    let svg = place.read("small.svg");
    let (head, rest) = svg.split_once("<style>").expect("it has a style");
    let (_, rest) = rest.split_once("</style>").expect("it ends");
    let (picture, rest) = rest.split_once("<script>").expect("it has a script");
    let (data, _) = rest.split_once("\n// Draws the sections").expect("data come before the script");
    let drawn = format!("{head}{picture}{data}\n");
    let golden = common::project().join("tests/golden/boot-small.svg");
    if std::env::var_os("TINE_WRITE_GOLDEN").is_some() {
        fs::write(&golden, &drawn).expect("it can be written");
    }
    assert_eq!(drawn, fs::read_to_string(&golden).expect("it is there"), "TINE_WRITE_GOLDEN=1 writes it anew");
}

#[test]
fn the_real_log_is_read_without_a_fault() {
    let Some([tslog, console]) = corpus("the_real_log_is_read_without_a_fault") else { return };
    let place = Place::new();
    let (tslog, console) = (tslog.display().to_string(), console.display().to_string());
    let told = place.json(&["top", "--json", &tslog, &console]);
    assert_eq!(told["hertz"], 2_750_339_982u64);
    assert_eq!(told["whole"], 20_008_556_869u64);
    assert_eq!(told["faults"], serde_json::json!({}));
    assert_eq!(told["incomplete"], serde_json::json!([]));
    let delay = told["calls"].as_array().expect("a list").iter().find(|calls| calls["name"] == "DELAY");
    assert_eq!(delay.expect("it was called")["calls"], 356);
    // What is added up by itself: the time between ENTER and EXIT of DELAY, thread by thread.
    let text = String::from_utf8_lossy(&fs::read(&tslog).expect("it is there")).replace('\0', "");
    let (mut since, mut sum) = (BTreeMap::new(), 0);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [thread, time, "ENTER", "DELAY"] => drop(since.insert(thread, time.parse::<u64>().expect("a number"))),
            [thread, time, "EXIT", "DELAY"] => sum += time.parse::<u64>().expect("a number") - since[thread],
            _ => {}
        }
    }
    assert_eq!(delay.expect("it was called")["total"], sum);
}

/// The scripts of freebsd-boot-profiling, in the folder that the environment names. They are no part of the project.
fn scripts(test: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("TINE_BOOT_PROFILING").map(PathBuf::from).filter(|path| path.join("tslog.sh").is_file());
    if folder.is_none() {
        peer::say(test, "there is no freebsd-boot-profiling (TINE_BOOT_PROFILING names its folder)");
    }
    folder
}

/// Runs the scripts on a log, with stand-ins for the commands that only FreeBSD has.
fn profiled(scripts: &Path, tslog: &str, user: &str) -> BTreeMap<String, u64> {
    let place = Place::new();
    place.write("tslog", tslog.replace('\0', ""));
    place.write("user", user);
    fs::create_dir(place.path("bin")).expect("a directory can be made");
    let data = place.0.path().display().to_string();
    let commands = [
        ("sysctl", format!("case \"$*\" in *_user*) cat {data}/user;; *) cat {data}/tslog;; esac")),
        ("uname", "echo FreeBSD".to_owned()),
        ("look", "exec grep -a \"^$1\" ${2:-/dev/stdin}".to_owned()),
        ("lam", "sed \"s/^/$2/\"".to_owned()),
        ("mktemp", "exec /usr/bin/env PATH=/usr/bin:/bin mktemp -d".to_owned()),
    ];
    for (name, body) in commands {
        let path = place.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a file can be written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    }
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "PATH=\"$0/bin:$PATH\" sh ./tslog.sh 2>/dev/null | perl ./stackcollapse-tslog.pl"])
        .arg(place.0.path())
        .env("LC_ALL", "C")
        .env("TMPDIR", place.0.path())
        .current_dir(scripts)
        .stdin(Stdio::null());
    // A stack that has no time of its own is printed without a number.
    let text = command::run(&mut shell, LIMIT).succeeds().text();
    let counted = text.lines().filter_map(|line| line.rsplit_once(' ').filter(|(_, count)| !count.is_empty()));
    counted.map(|(stack, count)| (stack.to_owned(), count.parse().expect("a number"))).collect()
}

#[test]
fn call_paths_have_the_times_that_the_scripts_give_them() {
    let test = "call_paths_have_the_times_that_the_scripts_give_them";
    let (Some(_), Some(scripts)) = (Peer::find(test, "perl"), scripts(test)) else { return };
    let mut logs: Vec<(String, String)> = vec![(log(12345), String::new())];
    for seed in 20..24 {
        let user = "1 0 5 0 \"init\" \"\"\n20 1 900000000 990000000 \"sh\" \"\"\n21 20 910000000 930000000 \"\" \"/etc/rc.d/a\"\n\
            22 21 915000000 920000000 \"x\" \"\"\n23 20 925000000 940000000 \"y\" \"\"\n";
        logs.push((support::boot(seed, 800).log, user.to_owned()));
    }
    if let Some([tslog, _]) = corpus(test) {
        let tslog = fs::read(tslog).expect("it is there");
        logs.push((String::from_utf8_lossy(&tslog).into_owned(), String::new()));
    }
    let place = Place::new();
    for (tslog, user) in &logs {
        place.write("log", [tslog.as_str(), user].concat());
        let ours = support::totals(&place.tine(&["export", "log"]).succeeds().text());
        assert_eq!(ours, profiled(&scripts, tslog, user));
    }
}

/// What a page says of itself after the script below it was run in a browser.
fn browsed(browser: &Peer, place: &Place, page: &str, script: &str) -> String {
    let html = place.read(page).replace("</body>", &format!("<script>{script}</script></body>"));
    place.write("browsed.html", html);
    let mut command = browser.command();
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,900", "--virtual-time-budget=3000"])
        .arg(format!("--user-data-dir={}", place.path("profile").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", place.path("browsed.html").display()))
        .env("HOME", place.0.path());
    let text = command::run(&mut command, LIMIT).succeeds().text();
    let (_, told) = text.split_once("<pre id=\"told\">").unwrap_or_else(|| panic!("nothing was told:\n{text}"));
    told.split_once("</pre>").map(|(told, _)| told.to_owned()).expect("it ends")
}

const BROWSE: &str = r#"
const told = [];
const svg = document.querySelector("svg.tine-boot");
const click = element => {
  const box = element.getBoundingClientRect();
  const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, button: 0, bubbles: true };
  for (const kind of ["mousemove", "mousedown", "mouseup"]) element.dispatchEvent(new MouseEvent(kind, at));
};
const boxes = () => [...svg.querySelectorAll(".plot rect")];
const texts = () => [...svg.querySelectorAll(".plot text")].map(text => text.textContent);
try {
  told.push("boxes " + boxes().length);
  tineBoot.search("DELAY");
  told.push("hits " + svg.querySelectorAll("rect.hit").length, svg.querySelector(".told").textContent);
  tineBoot.search("(");
  told.push("none " + svg.querySelectorAll("rect.hit").length);
  tineBoot.search("");
  const delay = boxes().find(box => box.classList.contains("w"));
  const at = delay.getBoundingClientRect();
  svg.dispatchEvent(new MouseEvent("mousemove", { clientX: at.left + at.width / 2, clientY: at.top + 5, bubbles: true }));
  told.push([...svg.querySelectorAll(".tip text")].map(text => text.textContent).join(" | "));
  click(delay);
  const [from, to] = tineBoot.shown();
  told.push("zoom " + (1e3 * from).toFixed(3) + " " + (1e3 * to).toFixed(3));
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "0" }));
  told.push("all " + (tineBoot.shown()[1] === tineBoot.all));
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "+" }));
  told.push("half " + ((tineBoot.shown()[1] - tineBoot.shown()[0]) / tineBoot.all).toFixed(3));
  svg.dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
  document.querySelectorAll("td.name a")[1].click();
  told.push("table " + (svg.querySelectorAll("rect.hit").length > 0));
} catch (error) { told.push("error " + error.stack); }
const pre = document.createElement("pre");
pre.id = "told";
pre.textContent = told.join("\n");
document.body.append(pre);
"#;

#[test]
fn search_zoom_and_hover_work_in_a_browser() {
    let Some(browser) = Peer::find("search_zoom_and_hover_work_in_a_browser", "chromium") else { return };
    let place = Place::new();
    place.write("tslog", log(1_000_000));
    place.tine(&["chart", "--tsc-freq", "1GHz", "-o", "chart.html", "tslog"]).succeeds();
    let told = browsed(&browser, &place, "chart.html", BROWSE);
    let expected = "boxes 11\nhits 2\n1 found: 1.000 ms, on the way 1.000 ms (38.5 %)\nnone 0\n\
        DELAY | 1.000 ms, 38.5 % of the whole; self 1.000 ms | from 1.200 ms, way to a booted system\n\
        zoom 1.180 2.220\nall true\nhalf 0.500\ntable true";
    assert_eq!(told, expected);
}

#[test]
fn the_trace_in_a_kernel_dump_is_read_with_its_clock() {
    let Some(forged) = kernel::forge(&[]) else {
        peer::say("the_trace_in_a_kernel_dump", "the kernel of the tests is compiled on Linux and amd64 only");
        return;
    };
    let place = Place::new();
    let (dump, image) = (forged.dump().display().to_string(), forged.kernel().display().to_string());
    let expected = "BIOS 1000\nkernel;mi_startup 1000\n";
    // The kernel is beside the dump.
    let ran = place.tine(&["export", &dump]).succeeds();
    assert_eq!(ran.text(), expected);
    assert!(ran.errors().contains("2 records that came later are missing"), "{ran}");
    let top = place.json(&["top", "--json", "-k", &image, &dump]);
    assert_eq!((&top["hertz"], &top["whole_seconds"]), (&1_000_000.into(), &0.002.into()));
    assert_eq!(top["sources"], serde_json::json!(["debug.tslog", "debug.tslog_user"]));
    let chart = place.path("boot.html").display().to_string();
    place.tine(&["chart", &dump, "-o", &chart]).succeeds();
    assert!(place.read("boot.html").contains("mi_startup"));

    // The same bytes packed, and under a name that says nothing.
    let bytes = fs::read(forged.dump()).expect("it is there");
    for (name, packed) in [("gz", gzip(&bytes)), ("zst", zstd::encode_all(&bytes[..], 1).expect("it is packed"))] {
        place.write(name, packed);
        assert_eq!(place.tine(&["export", "-k", &image, name]).succeeds().text(), expected);
    }
    let ran = place.tine(&["diff", "-k", &image, &dump, "gz"]).succeeds();
    assert!(ran.text().contains("no difference"), "{ran}");
    let lost = place.tine(&["top", "gz"]).ends_with(3);
    assert!(lost.errors().contains("-k"), "{lost}");
    let piped = fs::File::open(forged.dump()).expect("it is there");
    let ran = Command::new(TINE).args(["boot", "top", "-"]).stdin(piped).output().expect("it runs");
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{errors}");
    assert!(errors.contains("cannot be read from standard input"), "{errors}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, bytes).expect("it is packed");
    packer.finish().expect("it is packed")
}
