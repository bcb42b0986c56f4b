//! Network interfaces (`net/if_var.h`), of all network stacks of a kernel with `VIMAGE`.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use symbols::Value;

use crate::dump::Crash;
use crate::error::{Error, Result};
use crate::percpu::PerCpu;
use crate::queue;

/// Longest name and description.
const NAME: usize = 256;
/// `IFF_UP` and others that `ifconfig` shows (`net/if.h`).
const FLAGS: [(u64, &str); 12] = [
    (0x1, "UP"),
    (0x2, "BROADCAST"),
    (0x8, "LOOPBACK"),
    (0x10, "POINTOPOINT"),
    (0x40, "RUNNING"),
    (0x80, "NOARP"),
    (0x100, "PROMISC"),
    (0x200, "ALLMULTI"),
    (0x400, "OACTIVE"),
    (0x800, "SIMPLEX"),
    (0x8000, "MULTICAST"),
    (0x20000, "PPROMISC"),
];

/// A network interface.
#[derive(Clone, Debug, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u64,
    /// Its description, if it was given one.
    pub description: Option<String>,
    /// Its flags, as `ifconfig` calls them.
    pub flags: Vec<&'static str>,
    /// Bytes of its largest packet.
    pub mtu: u64,
    /// Whether there is a link: `up`, `down`; `None` if it does not know.
    pub link: Option<&'static str>,
    /// Its addresses, those of the link first.
    pub addresses: Vec<String>,
    /// Packets that came in.
    pub received: u64,
    /// Packets that went out.
    pub sent: u64,
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Bytes that went out.
    pub sent_bytes: u64,
    /// What came in and was damaged.
    pub input_errors: u64,
    /// What could not be sent.
    pub output_errors: u64,
    /// What was dropped, coming in and going out.
    pub drops: u64,
    /// Where its `struct ifnet` is.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
    /// Its network stack: where the `struct vnet` is, of kernels with several.
    #[serde(serialize_with = "crate::hex::maybe")]
    pub vnet: Option<u64>,
}

/// The interfaces; and what stopped the walk, if something did.
///
/// # Errors
/// If the list of them is not there.
pub fn interfaces(crash: &Crash) -> Result<(Vec<Interface>, Vec<String>)> {
    let cpus = PerCpu::of(crash);
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    for vnet in crash.vnets() {
        let head = crash.vnet_variable(vnet, "ifnet")?;
        // `if_link` since FreeBSD 5; a list of Concurrency Kit since 12.
        let list = queue::elements(&head, "if_link")?;
        problems.extend(list.broken.map(|why| format!("interfaces: {why}")));
        for value in &list.elements {
            match interface(crash, &cpus, value, vnet) {
                Ok(interface) => all.push(interface),
                Err(error) => problems.push(format!("interface at {:#x}: {error}", value.address().unwrap_or(0))),
            }
        }
    }
    Ok((all, problems))
}

fn interface(crash: &Crash, cpus: &PerCpu, value: &Value, vnet: Option<u64>) -> Result<Interface> {
    let number = |field: &str| value.field(field).and_then(|field| field.unsigned());
    let flags = number("if_flags")? | number("if_drv_flags").unwrap_or(0);
    let description = value.field("if_description").and_then(|text| text.string(NAME)).ok();
    // `ift_counter`, the same since FreeBSD 11.
    let counters = value.field("if_counters")?;
    let counter = |index: i128| -> Result<u64> {
        let one = counters.element(index)?.unsigned()?;
        Ok(cpus.counter(crash, one))
    };
    let (drops_in, drops_out) = (counter(9)?, counter(10)?);
    Ok(Interface {
        name: value.field("if_xname")?.string(NAME)?,
        index: number("if_index")?,
        description: description.filter(|text| !text.is_empty()),
        flags: FLAGS.into_iter().filter_map(|(bit, name)| (flags & bit != 0).then_some(name)).collect(),
        mtu: number("if_mtu")?,
        link: match number("if_link_state").unwrap_or(0) {
            1 => Some("down"),
            2 => Some("up"),
            _ => None,
        },
        addresses: addresses(crash, value).unwrap_or_default(),
        received: counter(0)?,
        sent: counter(2)?,
        received_bytes: counter(5)?,
        sent_bytes: counter(6)?,
        input_errors: counter(1)?,
        output_errors: counter(3)?,
        drops: drops_in.wrapping_add(drops_out),
        address: value.address().unwrap_or(0),
        vnet,
    })
}

fn addresses(crash: &Crash, interface: &Value) -> Result<Vec<String>> {
    let list = queue::elements(&interface.field("if_addrhead")?, "ifa_link")?;
    let found = list.elements.iter().filter_map(|element| {
        let address = element.field("ifa_addr").ok()?.unsigned().ok().filter(|at| *at != 0)?;
        let mask = element.field("ifa_netmask").and_then(|mask| mask.unsigned()).unwrap_or(0);
        address_text(crash, address, mask)
    });
    Ok(found.collect())
}

/// A `struct sockaddr`: its length and family in two bytes, then what the family has (`sys/socket.h`, `netinet/in.h`,
/// `netinet6/in6.h`, `net/if_dl.h`).
fn address_text(crash: &Crash, address: u64, mask: u64) -> Option<String> {
    const INET: u8 = 2;
    const LINK: u8 = 18;
    const INET6: u8 = 28;
    let read = |at: u64, size: usize| {
        let mut bytes = vec![0; size];
        crash.program().read(at, &mut bytes).ok().map(|()| bytes)
    };
    let family = *read(address, 2)?.get(1)?;
    let bits = |offset: u64, size: usize| {
        let bytes = if mask == 0 { None } else { read(mask.checked_add(offset)?, size) };
        bytes.map(|bytes| format!("/{}", bytes.iter().map(|byte| byte.count_ones()).sum::<u32>()))
    };
    match family {
        INET => {
            let bytes: [u8; 4] = read(address.checked_add(4)?, 4)?.try_into().ok()?;
            Some(format!("{}{}", Ipv4Addr::from(bytes), bits(4, 4).unwrap_or_default()))
        }
        INET6 => {
            let mut bytes: [u8; 16] = read(address.checked_add(8)?, 16)?.try_into().ok()?;
            // The kernel keeps the number of the interface within the address of a link.
            if let [0xfe, 0x80..=0xbf, third, fourth, ..] = &mut bytes {
                (*third, *fourth) = (0, 0);
            }
            Some(format!("{}{}", Ipv6Addr::from(bytes), bits(8, 16).unwrap_or_default()))
        }
        LINK => {
            let header = read(address, 8)?;
            let (name, length) = (*header.get(5)?, *header.get(6)?);
            let bytes = read(address.checked_add(8 + u64::from(name))?, length.min(32).into())?;
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(digits.join(":")).filter(|text| !text.is_empty())
        }
        _ => None,
    }
}

impl Crash {
    /// The network stacks of a kernel with `VIMAGE`, the host's first; `None` is the only one of another kernel.
    pub fn vnets(&self) -> Vec<Option<u64>> {
        let program = self.program();
        let list = program.variable("vnet_head").map_err(Error::from);
        let list = list.and_then(|head| queue::elements(&head, "vnet_le"));
        let mut all: Vec<Option<u64>> =
            list.map(|list| list.elements.iter().map(Value::address).collect()).unwrap_or_default();
        let host = program.variable("vnet0").and_then(|host| host.unsigned()).ok().filter(|host| *host != 0);
        if host.is_some() {
            all.retain(|vnet| *vnet != host);
            all.insert(0, host);
        }
        if all.is_empty() { vec![None] } else { all }
    }

    /// A variable of a network stack, by the name that `VNET_DEFINE` was given: `ifnet` of `V_ifnet`.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn vnet_variable(&self, vnet: Option<u64>, name: &str) -> Result<Value> {
        let program = self.program();
        let Some(vnet) = vnet else { return Ok(program.variable(name)?) };
        // `VNET_VNET_PTR` (`net/vnet.h`): the variable is the pattern that the copies were made of.
        let pattern = program
            .variable(&format!("vnet_entry_{name}"))
            .map_err(|_| Error::absent(format!("V_{name}: not in this kernel as a variable of a network stack")))?;
        let stack = program.value(&program.ty("struct vnet")?, vnet);
        let base = stack.field("vnet_data_base")?.unsigned()?;
        Ok(program.value(pattern.ty(), base.wrapping_add(pattern.address().unwrap_or(0))))
    }
}
