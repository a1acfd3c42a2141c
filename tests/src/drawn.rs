//! Policies drawn from few values, so that they match now and then.

use std::net::IpAddr;

use super::policies::{Block, NaiveMatch, NaivePolicy, NaiveText};

/// Numbers from a seed (xorshift), so that a failure comes again.
#[derive(Debug)]
pub struct Draw(u64);

/// What there is to match.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    pub trust_domains: Vec<String>,
    pub namespaces: Vec<String>,
    pub service_accounts: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<u16>,
}

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, many: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % many
    }

    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// None, one, or two; mostly none.
    fn some<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        let many = [0, 0, 0, 0, 0, 0, 1, 2][self.below(8)];
        (0..many).map(|_| one(self)).collect()
    }

    fn text(&mut self, whole: &str) -> NaiveText {
        let at = self.below(whole.len() + 1);
        match self.below(8) {
            0..=2 => NaiveText::Exact(whole.to_owned()),
            3 | 4 => NaiveText::Prefix(whole[..at].to_owned()),
            5 | 6 => NaiveText::Suffix(whole[at..].to_owned()),
            _ => NaiveText::Presence,
        }
    }

    fn block(&mut self, pool: &Pool) -> Block {
        let address = self.of(&pool.addresses);
        let lengths: &[u8] = match address {
            IpAddr::V4(_) => &[0, 8, 24, 31, 32],
            IpAddr::V6(_) => &[0, 64, 127, 128],
        };
        let length = self.of(lengths);
        (network(address, length), length)
    }

    fn one_match(&mut self, pool: &Pool) -> NaiveMatch {
        let namespace = |d: &mut Self| {
            let namespace = d.of(&pool.namespaces);
            d.text(&namespace)
        };
        let principal = |d: &mut Self| {
            let (trust_domain, namespace) = (d.of(&pool.trust_domains), d.of(&pool.namespaces));
            let account = d.of(&pool.service_accounts);
            d.text(&format!("{trust_domain}/ns/{namespace}/sa/{account}"))
        };
        let account = |d: &mut Self| (d.of(&pool.namespaces), d.of(&pool.service_accounts));
        let block = |d: &mut Self| d.block(pool);
        let port = |d: &mut Self| d.of(&pool.ports);
        NaiveMatch {
            namespaces: self.some(namespace),
            not_namespaces: self.some(namespace),
            principals: self.some(principal),
            not_principals: self.some(principal),
            service_accounts: self.some(account),
            not_service_accounts: self.some(account),
            source_ips: if self.one_in(3) {
                self.some(block)
            } else {
                Vec::new()
            },
            not_source_ips: if self.one_in(3) {
                self.some(block)
            } else {
                Vec::new()
            },
            destination_ips: self.some(block),
            not_destination_ips: self.some(block),
            destination_ports: self.some(port),
            not_destination_ports: self.some(port),
        }
    }

    /// A policy of one of the pool's namespaces.
    pub fn policy(&mut self, name: &str, pool: &Pool) -> NaivePolicy {
        let rules = (0..self.below(4))
            .map(|_| {
                (0..self.below(3))
                    .map(|_| (0..self.below(4)).map(|_| self.one_match(pool)).collect())
                    .collect()
            })
            .collect();
        NaivePolicy {
            namespace: self.of(&pool.namespaces),
            name: name.to_owned(),
            scope: self.of(&[
                "Global",
                "Namespace",
                "WorkloadSelector",
                "WorkloadSelector",
            ]),
            deny: self.one_in(2),
            dry_run: self.one_in(6),
            rules,
        }
    }
}

fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::from((ip.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::from((ip.to_bits() & mask).to_be_bytes())
        }
    }
}
