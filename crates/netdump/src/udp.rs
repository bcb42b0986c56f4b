//! UDP sockets that take and give many datagrams at a time where the host can: Linux hands over a run of datagrams of
//! one sender at once (`UDP_GRO`) and sends as many (`UDP_SEGMENT`). Elsewhere it is one at a time.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt as options};

/// Large enough for whatever is received at once.
pub const BUFFER_SIZE: usize = 1 << 16;
/// What is received while the program is busy waits in a buffer of so many bytes, if the host allows it.
const QUEUE: usize = 4 << 20;
/// How many datagrams are sent at once, at most (`UDP_MAX_SEGMENTS` was 64 at first), and how many bytes.
const MOST_SEGMENTS: usize = 64;
const MOST_BYTES: usize = 65_000;

/// A socket that never blocks.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    /// Whether many datagrams can be sent at once: until that fails.
    segments: AtomicBool,
}

/// Datagrams of one sender that were received at once.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// The bytes of all of them.
    pub size: usize,
    /// The bytes of each; the last may be smaller.
    pub each: usize,
    /// Where they came from.
    pub from: SocketAddr,
    /// The address that they were sent to, where the host tells it.
    pub to: Option<IpAddr>,
}

impl Socket {
    /// A socket at an address; port 0 is one that the host chooses.
    ///
    /// # Errors
    /// If the address is in use, not one of this host, or not allowed.
    pub fn bind(address: SocketAddr) -> io::Result<Socket> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        #[cfg(not(target_vendor = "apple"))]
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        #[cfg(target_vendor = "apple")]
        let flags = SocketFlags::empty();
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
        #[cfg(target_vendor = "apple")]
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        if address.is_ipv6() {
            // Another socket may listen to the same port of IPv4.
            options::set_ipv6_v6only(&socket, true)?;
        }
        enlarge(&socket);
        bind(&socket, &address)?;
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        // What these give can be done without.
        #[cfg(target_os = "linux")]
        let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
        let _ = match address {
            #[cfg(any(target_os = "linux", target_vendor = "apple"))]
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true),
            #[cfg(target_os = "freebsd")]
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvDstAddr, &true),
            #[allow(unreachable_patterns, reason = "other hosts have neither for IPv4")]
            SocketAddr::V4(_) => Ok(()),
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true),
        };
        Ok(Socket { socket, segments: AtomicBool::new(cfg!(target_os = "linux")) })
    }

    /// Its address.
    ///
    /// # Errors
    /// If the host does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives what is there, into [`BUFFER_SIZE`] bytes; none if nothing is.
    ///
    /// # Errors
    /// If the host says so.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo, i32);
        let mut into = [IoSliceMut::new(buffer)];
        let received = loop {
            let flags = MsgFlags::MSG_DONTWAIT;
            match recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut into, Some(&mut control), flags) {
                Ok(received) => break received,
                // The last is that of something sent before: nobody listens there.
                Err(Errno::EINTR | Errno::ECONNREFUSED) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        let from = received.address.as_ref().and_then(socket_address);
        let from = from.ok_or_else(|| io::Error::other("a datagram without a sender"))?;
        let mut to = None;
        #[cfg_attr(not(target_os = "linux"), allow(unused_mut, reason = "only Linux joins datagrams"))]
        let mut each = received.bytes.max(1);
        for message in received.cmsgs()? {
            match message {
                #[cfg(any(target_os = "linux", target_vendor = "apple"))]
                ControlMessageOwned::Ipv4PacketInfo(info) => to = Some(ipv4(info.ipi_addr)),
                #[cfg(target_os = "freebsd")]
                ControlMessageOwned::Ipv4RecvDstAddr(address) => to = Some(ipv4(address)),
                ControlMessageOwned::Ipv6PacketInfo(info) => to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()),
                #[cfg(target_os = "linux")]
                ControlMessageOwned::UdpGroSegments(size) => each = usize::try_from(size).unwrap_or(each).max(1),
                _ => {}
            }
        }
        Ok(Some(Received { size: received.bytes, each, from, to }))
    }

    /// Sends datagrams of `each` bytes, the last of which may be smaller. What the host cannot take now is lost, as
    /// it could be anywhere on its way.
    ///
    /// # Errors
    /// If the host refuses to send there at all.
    pub fn send(&self, datagrams: &[u8], each: usize, to: SocketAddr) -> io::Result<()> {
        let each = each.clamp(1, MOST_BYTES);
        let at_once = (MOST_BYTES / each).clamp(1, MOST_SEGMENTS) * each;
        for run in datagrams.chunks(at_once) {
            if run.len() > each && self.segments.load(Relaxed) {
                if self.send_segments(run, each, to)? {
                    continue;
                }
                self.segments.store(false, Relaxed);
            }
            for datagram in run.chunks(each) {
                self.send_one(datagram, to)?;
            }
        }
        Ok(())
    }

    /// Whether they were sent so.
    #[cfg(target_os = "linux")]
    fn send_segments(&self, datagrams: &[u8], each: usize, to: SocketAddr) -> io::Result<bool> {
        let Ok(size) = u16::try_from(each) else { return Ok(false) };
        let segments = [ControlMessage::UdpGsoSegments(&size)];
        let what = [IoSlice::new(datagrams)];
        let to = SockaddrStorage::from(to);
        let flags = MsgFlags::MSG_DONTWAIT;
        loop {
            return match sendmsg(self.socket.as_raw_fd(), &what, &segments, flags, Some(&to)) {
                Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(true),
                Err(Errno::EINTR | Errno::ECONNREFUSED) => continue,
                // The interface, or the kernel, cannot do it.
                Err(Errno::EIO | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT | Errno::EMSGSIZE) => Ok(false),
                Err(errno) => Err(errno.into()),
            };
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn send_segments(&self, _: &[u8], _: usize, _: SocketAddr) -> io::Result<bool> {
        Ok(false)
    }

    fn send_one(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        loop {
            return match sendmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &[IoSlice::new(datagram)],
                &[] as &[ControlMessage<'_>],
                MsgFlags::MSG_DONTWAIT,
                Some(&SockaddrStorage::from(to)),
            ) {
                Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(()),
                Err(Errno::EINTR | Errno::ECONNREFUSED) => continue,
                Err(errno) => Err(errno.into()),
            };
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// As large a buffer as the host gives.
fn enlarge(socket: &impl AsFd) {
    #[cfg(target_os = "linux")]
    if options::set_socket_recv_buffer_size_force(socket, QUEUE).is_ok() {
        return;
    }
    let mut size = QUEUE;
    while size >= 128 << 10 && options::set_socket_recv_buffer_size(socket, size).is_err() {
        size /= 2;
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let ipv4 = address.as_sockaddr_in().map(|&address| address.into());
    ipv4.or_else(|| address.as_sockaddr_in6().map(|&address| address.into()))
}

fn ipv4(address: nix::libc::in_addr) -> IpAddr {
    Ipv4Addr::from(address.s_addr.to_ne_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive_all(socket: &Socket, count: usize) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; BUFFER_SIZE];
        let mut all = Vec::new();
        for _ in 0..1000 {
            while let Some(received) = socket.receive(&mut buffer).unwrap() {
                all.extend(buffer[..received.size].chunks(received.each).map(<[u8]>::to_vec));
            }
            if all.len() >= count {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        all
    }

    #[test]
    fn many_datagrams_arrive_one_by_one_or_together() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(one) = Socket::bind(address.parse().unwrap()) else {
                println!("skipped: {address} cannot be bound here");
                continue;
            };
            let other = Socket::bind(address.parse().unwrap()).unwrap();
            let to = other.address().unwrap();
            for segments in [true, false] {
                one.segments.fetch_and(segments, Relaxed);
                let sent: Vec<u8> = (0..1472 * 100 + 7).map(|at| (at / 1472) as u8).collect();
                one.send(&sent, 1472, to).unwrap();
                let received = receive_all(&other, 101);
                assert_eq!(received.iter().map(Vec::len).collect::<Vec<_>>(), [&[1472; 100][..], &[7]].concat());
                assert_eq!(received.concat(), sent);
            }
        }
    }

    #[test]
    fn the_sender_and_the_address_it_wrote_to_are_known() {
        let any = Socket::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = any.address().unwrap().port();
        let one = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        one.send(b"x", 1, SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        let mut buffer = vec![0; BUFFER_SIZE];
        let received = loop {
            if let Some(received) = any.receive(&mut buffer).unwrap() {
                break received;
            }
        };
        assert_eq!(received.from, one.address().unwrap());
        assert_eq!(received.to, Some(IpAddr::from([127, 0, 0, 1])));
        // The same port of the other family is free.
        if Socket::bind("[::1]:0".parse().unwrap()).is_ok() {
            Socket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).unwrap();
        }
    }
}
