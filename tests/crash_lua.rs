//! Scripts over the dump of a kernel that the tests compile: the guide's examples, the cookbook, and the fence around them.

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::command::{self, Ran};
use common::peer;

#[path = "../crates/crash/tests/support/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

use support::Forged;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// The forged dump, with what the cookbook looks at, or nothing, which is told.
fn forged(test: &str) -> Option<Forged> {
    let forged = support::forge(&["-DCOOKBOOK"]);
    if forged.is_none() {
        peer::say(test, "the kernel of the tests is compiled on Linux and amd64 only");
    }
    forged
}

fn lua(forged: &Forged, arguments: &[&str]) -> Ran {
    let mut command = Command::new(TINE);
    command.arg("crash").arg("-k").arg(forged.kernel()).arg(forged.dump()).arg("lua").args(arguments);
    command::run(&mut command, LIMIT)
}

fn example(forged: &Forged, name: &str, arguments: &[&str]) -> String {
    let path = common::project().join("examples/crash").join(name).display().to_string();
    lua(forged, &[&[path.as_str()], arguments].concat()).succeeds().text()
}

/// What a script is refused with, in one line.
fn refused(forged: &Forged, arguments: &[&str]) -> String {
    let said = lua(forged, arguments).ends_with(3).errors();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// The scripts of a guide, and what it says that each prints.
fn examples(guide: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = guide;
    while let Some((_, after)) = rest.split_once("```lua\n") {
        let (code, after) = after.split_once("```\n").expect("the block ends");
        let (_, output) = after.split_once("```text\n").expect("its output follows");
        let (output, after) = output.split_once("```").expect("the block ends");
        found.push((code.to_owned(), output.to_owned()));
        rest = after;
    }
    found
}

#[test]
fn the_guides_examples_print_what_it_says() {
    let Some(forged) = forged("the_guides_examples_print_what_it_says") else { return };
    let guide = std::fs::read_to_string(common::project().join("docs/guide/crash-lua.md")).expect("there is a guide");
    let examples = examples(&guide);
    assert!(examples.len() >= 10);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("crash-lua.md");
    for (code, output) in examples {
        std::fs::write(&script, &code).expect("it can be written");
        let said = lua(&forged, &[&script.display().to_string()]).succeeds().text();
        assert_eq!(said, output, "of\n{code}");
    }
}

#[test]
fn the_message_buffer_is_printed_by_hand() {
    let Some(forged) = forged("the_message_buffer_is_printed_by_hand") else { return };
    assert_eq!(example(&forged, "msgbuf.lua", &[]), "---<<BOOT>>---\nstarting\npanic: page fault\n");
}

#[test]
fn tcp_logs_are_extracted_where_the_kernel_has_them() {
    let test = "tcp_logs_are_extracted_where_the_kernel_has_them";
    let Some(forged) = forged(test) else { return };
    assert_eq!(
        example(&forged, "tcplog.lua", &[]),
        "10.0.2.15:22 - 10.0.2.2:12345  ESTABLISHED\n  \
         \x20    7  12.000340  TCP_LOG_IN       ESTABLISHED  len 13     snd_una 100 snd_max 100 rcv_nxt 213 cwnd 14600\n  \
         \x20    8  12.000345  TCP_LOG_OUT      ESTABLISHED  len 20     snd_una 100 snd_max 120 rcv_nxt 213 cwnd 14600\n\
         [0:0:0:0:0:0:0:0]:22 - [0:0:0:0:0:0:0:0]:0  LISTEN\n\
         2 connections\n"
    );
    let Some(plain) = support::forge(&[]) else { return };
    assert_eq!(example(&plain, "tcplog.lua", &[]), "TCP: not in this kernel\n");
}

#[test]
fn the_cookbook_shows_files_mbufs_vnodes_and_pools() {
    let Some(forged) = forged("the_cookbook_shows_files_mbufs_vnodes_and_pools") else { return };
    assert_eq!(
        example(&forged, "files.lua", &["doomed"]),
        "27 doomed (R), 2 threads\n     0  vnode /dev/console\n     2  vnode VREG /etc/passwd\n     \
         3  socket inet stream\n     4  socket inet stream\n"
    );
    assert_eq!(
        example(&forged, "mbufs.lua", &[]),
        "27 doomed fd 3 received: 13 bytes in 2 mbufs, 1 of them clusters: hello, world\u{fffd}\n\
         2 sockets, 13 bytes in 2 mbufs\n"
    );
    assert_eq!(
        example(&forged, "vnodes.lua", &[]),
        "/dev/ada0p2 on / (ufs): 3 vnodes, 2 in use: 1 VREG, 2 VDIR\n\
         devfs on /dev (devfs): 1 vnodes, 1 in use: 1 VCHR\n"
    );
    assert_eq!(
        example(&forged, "zfs.lua", &[]),
        "backup: POOL_STATE_EXPORTED\ntank: POOL_STATE_ACTIVE\n  txg open 103, quiesced 102, syncing 0, synced 101\n  \
         mirror  degraded  errors: 0 read, 0 write, 0 checksum\n    \
         /dev/ada0p3  healthy  errors: 0 read, 0 write, 0 checksum\n    \
         /dev/ada1p3  faulted  errors: 3 read, 1 write, 2 checksum\n"
    );
}

#[test]
fn an_error_tells_its_line_once() {
    let Some(forged) = forged("an_error_tells_its_line_once") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = |code: &str| {
        let path = folder.path().join("a script.lua");
        std::fs::write(&path, code).expect("it can be written");
        refused(&forged, &[&path.display().to_string()])
    };
    assert_eq!(
        script("\n\nprint(kernel.doomed.p_nothing)"),
        "tine: a script.lua:3: struct proc has no field p_nothing in kernel\n"
    );
    assert_eq!(script("\nlocal x = nil + 1"), "tine: a script.lua:2: attempt to perform arithmetic on a nil value\n");
    assert_eq!(script("error('so')"), "tine: a script.lua:1: so\n");
    assert!(script("local = 1").starts_with("tine: a script.lua:1: <name> expected"));
    assert!(script("\nprint(no_such_name)").starts_with("tine: a script.lua:2: there is no no_such_name"));
    assert!(script("\nmem.u64('x')").starts_with("tine: a script.lua:2: an address was expected"));
    assert!(script("\nsizeof('struct nothing')").starts_with("tine: a script.lua:2: "));
    assert!(script("kernel.doomed.p_pid = 3").contains("a script.lua:1: a dump cannot be changed"));
    let missing = lua(&forged, &["/nonexistent.lua"]).ends_with(3).errors();
    assert!(missing.contains("cannot read /nonexistent.lua"), "{missing}");
}

#[test]
fn nothing_outside_is_reached() {
    let Some(forged) = forged("nothing_outside_is_reached") else { return };
    let run = |code: &str| lua(&forged, &["-e", code]).succeeds().text();
    let names = "for _, n in ipairs{'io','require','package','loadfile','dofile','debug'} do write(tostring(rawget(_G, n)), ' ') end \
                 print(os.execute, os.getenv, os.remove, os.exit, os.rename, os.tmpname, string.dump)";
    assert_eq!(run(names), format!("{}nil\tnil\tnil\tnil\tnil\tnil\tnil\n", "nil ".repeat(6)));
    // Code that was compiled can do what no text can.
    assert_eq!(run("print(load('\\27Lua', 'x', 'b'))").split('\t').next(), Some("nil"));
    assert_eq!(run("print(load('return 1 + 1')())"), "2\n");
    assert_eq!(
        run("print(getmetatable(kernel.doomed), getmetatable(kernel), getmetatable(_G))"),
        "false\tfalse\tfalse\n"
    );

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("out");
    let code =
        format!("local f = io.open({:?}, 'w') f:write('x') f:close() print(io.popen)", path.display().to_string());
    assert_eq!(lua(&forged, &["--allow-files", "-e", &code]).succeeds().text(), "nil\n");
    assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), Some("x"));
}

#[test]
fn a_script_that_takes_too_much_is_ended() {
    let Some(forged) = forged("a_script_that_takes_too_much_is_ended") else { return };
    let few = ["--max-instructions", "1000000", "-e"];
    let run = |code: &str| refused(&forged, &[&few[..], &[code]].concat());
    let ended = "tine: the script was ended after 1000000 instructions: --max-instructions allows more\n";
    for endless in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local function f() return pcall(f) end while true do xpcall(function() while true do end end, f) end",
        "for i = 1, math.huge do local ok = pcall(error, 'x') end",
        "coroutine.wrap(function() while true do end end)()",
    ] {
        assert_eq!(run(endless), ended, "{endless}");
    }
    let memory = |code: &str| refused(&forged, &["--max-memory", "16m", "-e", code]);
    for greedy in ["local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", "print(#('x'):rep(1 << 30))"] {
        assert!(memory(greedy).contains("--max-memory allows more"), "{greedy}");
    }
    let deep = refused(&forged, &["-e", "local function f() return 1 + f() end f()"]);
    assert!(deep.starts_with("tine: -e:1: stack overflow"), "{deep}");
    assert!(run("mem.bytes(0, 1 << 40)").contains("can be read at once"));
    // One call of Lua's library that no hook sees.
    let hostile = "(('a'):rep(40) .. 'b'):find(('a?'):rep(40) .. ('a'):rep(41) .. '$')";
    let code = format!("print({hostile}) print((('a'):rep(3000)):find(('.-'):rep(300) .. 'b'))");
    assert!(refused(&forged, &["--timeout", "1", "-e", &code]).contains("--timeout allows more"));
}

#[test]
fn a_reader_that_has_enough_ends_the_script() {
    let Some(forged) = forged("a_reader_that_has_enough_ends_the_script") else { return };
    let line = format!(
        "{TINE} crash -k {} {} lua -e 'while true do print(1) end' | head -n 1",
        forged.kernel().display(),
        forged.dump().display()
    );
    let mut shell = Command::new("sh");
    let ran = command::run(shell.args(["-c", &line]), LIMIT).succeeds();
    assert_eq!((ran.text(), ran.errors()), ("1\n".to_owned(), String::new()));
}

#[test]
fn scripts_have_arguments_and_come_from_standard_input() {
    let Some(forged) = forged("scripts_have_arguments_and_come_from_standard_input") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.lua");
    std::fs::write(&path, "#!/usr/bin/env lua\nprint(arg[0], arg[1], arg[2], #arg)").expect("it can be written");
    assert_eq!(lua(&forged, &[&path.display().to_string(), "-x", "y z"]).succeeds().text(), "a.lua\t-x\ty z\t2\n");
    assert!(Path::new(&path).exists());
}
