//! The GDB Remote Serial Protocol: a debugger, or a stub, that says anything at all.
#![no_main]

use gdb_remote::{Architecture, Client, Target, ThreadId, packet, server};
use libfuzzer_sys::fuzz_target;

struct Still;

impl Target for Still {
    fn architecture(&self) -> Architecture {
        Architecture::Amd64
    }

    fn threads(&self) -> Vec<ThreadId> {
        vec![100_001, 7]
    }

    fn thread_name(&self, thread: ThreadId) -> Option<String> {
        (thread == 7).then(|| "}{#$*<&\"\\\n".to_owned())
    }

    fn registers(&self, _: ThreadId) -> Vec<Option<u64>> {
        vec![Some(1), None, Some(u64::MAX)]
    }

    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        buf.len().min((address % 5000) as usize)
    }

    fn modules(&self) -> Vec<(String, u64)> {
        vec![("zfs.ko".to_owned(), u64::MAX)]
    }
}

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let mut answers = Vec::new();
    let _ = server::serve(&Still, &mut &data[..], &mut answers);
    let Ok(mut client) = Client::connect(data, Vec::new(), Architecture::Amd64) else { return };
    let _ = client.threads();
    let _ = client.registers(1);
    let mut memory = [0; 100];
    if let Ok(read) = client.read(0, &mut memory) {
        assert!(read <= memory.len());
    }
    let _ = client.monitor("x");
});

fn seeds() -> Vec<Vec<u8>> {
    let of = |payloads: &[&str]| {
        let mut bytes = Vec::new();
        for payload in payloads {
            packet::write(&mut bytes, payload.as_bytes()).unwrap();
            bytes.push(b'+');
        }
        bytes
    };
    vec![
        of(&[
            "qSupported:xmlRegisters=i386",
            "QStartNoAckMode",
            "?",
            "Hg7",
            "g",
            "p0;thread:7;",
            "m1000,20",
            "x1000,20",
        ]),
        of(&[
            "qXfer:features:read:target.xml:0,ff",
            "qXfer:threads:read::0,fff",
            "qXfer:libraries:read::0,fff",
            "jThreadsInfo",
        ]),
        of(&["qfThreadInfo", "qThreadExtraInfo,7", "qRcmd,6161", "vCont;c", "T7", "qThreadStopInfo7", "D"]),
        of(&["PacketSize=1000;QStartNoAckMode+", "OK", "T05thread:1;", "m1,2", "l", "OK", "0011223344556677", "0011"]),
    ]
}
