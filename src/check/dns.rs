use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use futures_util::future::BoxFuture;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use super::single::Single;
use super::{Check, Defaults, Kind, Prepare, Resources, refused};
use crate::health::{Facts, Finding, Reason};

pub(super) const KIND: Kind = Kind::of::<Dns>(
    "dns",
    "Looks up the addresses of a name, as the system does it, or by a name server.",
    Defaults { interval: "30s", timeout: "5s", failure_threshold: "3", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `dns` check.
    pub struct Dns {
        /// The name.
        name: String,
        /// Fewer addresses are a failure.
        min_count: u64 = "1",
        /// Addresses that must be among them.
        expect: Vec<String> = "[]",
        /// Ask this name server, by its address and port, for A and AAAA. Default: what the system does, files included.
        server: Option<String>,
    }
}

impl Prepare for Dns {
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        let fits = !self.name.is_empty() && self.name.len() <= 253 && Name::new(&self.name).is_ok();
        if !fits || self.name.chars().any(|c| c.is_ascii_control() || c.is_whitespace()) {
            return Err("`dns.name` must be a host name".into());
        }
        let expect: Result<Vec<IpAddr>, _> = self.expect.iter().map(|text| text.parse()).collect();
        let expect = expect.map_err(|_| "`dns.expect` must hold IP addresses")?;
        let server = self.server.as_ref().map(|text| {
            let plain = text.parse().map(|address: IpAddr| SocketAddr::new(address, 53));
            text.parse().or(plain).map_err(|_| "`dns.server` must be an address, such as \"10.0.0.10:53\"")
        });
        let server = server.transpose()?;
        Ok(Box::new(DnsCheck {
            name: self.name.clone(),
            min_count: self.min_count,
            expect,
            server,
            look: Single::default(),
        }))
    }
}

struct DnsCheck {
    name: String,
    min_count: u64,
    expect: Vec<IpAddr>,
    server: Option<SocketAddr>,
    /// The system's way blocks a thread: never more than one for each check.
    look: Single<io::Result<Vec<IpAddr>>>,
}

/// So many addresses are told.
const MOST_TOLD: usize = 64;

impl Check for DnsCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let begun = Instant::now();
            let found = match self.server {
                Some(server) => ask(server, &self.name).await,
                None => {
                    let name = self.name.clone();
                    let looked = self.look.run(move || {
                        (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
                    });
                    looked.await
                }
            };
            let mut facts = Facts::default();
            facts.public("latency_ms", super::millis(begun.elapsed()));
            match found {
                Ok(addresses) => self.judge(addresses, facts),
                Err(error) => {
                    let private = format!("{}: {error}", self.name);
                    let reason = Reason::new("not_resolved", "cannot be resolved").with_private(private);
                    refused(&error, reason, facts)
                }
            }
        })
    }
}

impl DnsCheck {
    fn judge(&self, mut addresses: Vec<IpAddr>, mut facts: Facts) -> Finding {
        addresses.sort();
        addresses.dedup();
        let count = addresses.len() as u64;
        facts.public("count", count);
        let told: Vec<String> = addresses.iter().take(MOST_TOLD).map(ToString::to_string).collect();
        facts.trusted("addresses", told);
        let absent = self.expect.iter().find(|address| !addresses.contains(address));
        if count < self.min_count {
            let sentence = format!("has {count} addresses, {} are needed", self.min_count);
            Finding::fail(Reason::new("too_few_addresses", sentence), facts)
        } else if let Some(absent) = absent {
            let reason = Reason::new("address_missing", "has not all of its addresses");
            Finding::fail(reason.with_private(format!("{absent} is not among them")), facts)
        } else {
            Finding::pass(facts)
        }
    }
}

/// Asks a name server for both kinds of addresses. That there are none of one kind, or no such name, is an answer.
async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    let (v4, v6) = tokio::try_join!(ask_for(server, name, TYPE::A), ask_for(server, name, TYPE::AAAA))?;
    Ok(v4.into_iter().chain(v6).collect())
}

/// An answer by UDP is shorter (RFC 6891 section 6.2.5, which we do not even ask for).
const LONGEST_DATAGRAM: usize = 4096;

/// By UDP, and by TCP if the answer does not fit (RFC 1035 section 4.2). The caller has a deadline; a datagram that is lost
/// is asked for again by the next run.
async fn ask_for(server: SocketAddr, name: &str, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    // Sixteen bits that a stranger cannot guess, beside the port that the system chooses (RFC 5452).
    let id = RandomState::new().hash_one(name) as u16;
    let query = query(id, name, kind).map_err(|_| malformed())?;
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0)).await?;
    // From nobody else is anything taken.
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match read(&buffer[..length], id, kind) {
            Read::Addresses(found) => return Ok(found),
            Read::Refused(code) => return Err(io::Error::other(format!("the name server says {code}"))),
            Read::Truncated => return by_tcp(server, &query, id, kind).await,
            // Not the answer to this: it may still come.
            Read::Other => {}
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &[u8], id: u16, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| malformed())?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match read(&answer, id, kind) {
        Read::Addresses(found) => Ok(found),
        Read::Refused(code) => Err(io::Error::other(format!("the name server says {code}"))),
        Read::Truncated | Read::Other => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the name server's answer cannot be understood")
}

fn query(id: u16, name: &str, kind: TYPE) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name)?, kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec()
}

/// What a message of a name server is.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Addresses(Vec<IpAddr>),
    Refused(String),
    Truncated,
    Other,
}

fn read(message: &[u8], id: u16, kind: TYPE) -> Read {
    let Ok(packet) = Packet::parse(message) else { return Read::Other };
    let ours = packet.questions.iter().any(|question| question.qtype == kind.into());
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !ours {
        return Read::Other;
    }
    match packet.rcode() {
        // No such name: it has no addresses.
        RCODE::NoError | RCODE::NameError => {}
        other => return Read::Refused(format!("{other:?}")),
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Read::Truncated;
    }
    // The names of the answers may be those that aliases lead to.
    let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(a) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
        RData::AAAA(aaaa) => Some(IpAddr::from(Ipv6Addr::from(aaaa.address))),
        _ => None,
    });
    Read::Addresses(addresses.collect())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use simple_dns::rdata::{A, RData};
    use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord, TYPE};

    use super::{Read, query, read};

    fn reply(id: u16, change: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let query = query(id, "a.example", TYPE::A).expect("a query");
        let mut packet = Packet::parse(&query).expect("a packet").into_reply();
        change(&mut packet);
        packet.build_bytes_vec().expect("bytes")
    }

    #[test]
    fn only_the_answer_is_an_answer() {
        let address = |packet: &mut Packet<'_>| {
            let data = RData::A(A { address: 0x7f00_0001 });
            packet.answers.push(ResourceRecord::new(Name::new_unchecked("b.example"), CLASS::IN, 60, data));
        };
        let here = Read::Addresses(vec![IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(read(&reply(7, address), 7, TYPE::A), here);
        assert_eq!(read(&reply(8, address), 7, TYPE::A), Read::Other, "somebody else's");
        assert_eq!(read(&reply(7, address), 7, TYPE::AAAA), Read::Other);
        assert_eq!(read(&query(7, "a.example", TYPE::A).expect("a query"), 7, TYPE::A), Read::Other, "a question");
        assert_eq!(read(&reply(7, |packet| packet.set_flags(PacketFlag::TRUNCATION)), 7, TYPE::A), Read::Truncated);
        let code = |code| read(&reply(7, |packet| *packet.rcode_mut() = code), 7, TYPE::A);
        assert_eq!(code(RCODE::NameError), Read::Addresses(Vec::new()));
        assert!(matches!(code(RCODE::ServerFailure), Read::Refused(_)));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(message in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&message, 7, TYPE::A);
        }
    }
}
