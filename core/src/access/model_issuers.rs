//! Token issuers in a model: who lists them, who can get their tokens, and the ways to them that no policy declares.

use super::*;

/// Port of the token service.
pub(crate) const TOKEN_PORT: u16 = 4;
/// Name of the Secret that registers the clients of all domains that have some.
pub(crate) const CLIENTS_SECRET: &str = "clients";
/// The one client in it.
pub(crate) const CLIENT: &str = "web";
/// Port of the issuers of others.
const ISSUER_PORT: u16 = 5;

/// An issuer of a domain.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    BuiltIn { opaque: bool, clients: Vec<&'static str> },
    Outside { url: &'static str, endpoint: Option<Endpoint> },
}

#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    Pods(String),
    Cidr(&'static str),
}

/// A token that a policy demands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    Caller,
    Issuer { name: Option<&'static str>, introspected: bool, one_time: bool },
}

impl Model {
    /// The built-in token service is told of at start, whether its identity exists or not.
    pub(crate) fn settings(&self) -> Settings {
        let token_service = self.token_service.as_ref().map(|(namespace, name)| TokenService {
            identity: NamespacedName::new(namespace.clone(), *name),
            port: TOKEN_PORT,
            issuer: "https://sts.example".to_owned(),
        });
        Settings { token_service, ..Settings::default() }
    }

    fn issuer(&self, domain: usize, name: &str) -> Option<&Issuer> {
        self.domains.get(domain)?.issuers.iter().find(|issuer| issuer.name == name)
    }

    /// What an issuer is, wherever it is named; nothing where there is none.
    fn url<'a>(&self, issuer: &'a Issuer) -> Option<&'a str> {
        match &issuer.kind {
            Kind::BuiltIn { .. } => self.token_service.as_ref().map(|_| "built-in"),
            Kind::Outside { url, .. } => Some(url),
        }
    }

    /// The issuers that an identity talks to.
    fn listed(&self, namespace: &str, name: &str) -> Vec<&Issuer> {
        let Some(domain) = self.domain_of(namespace) else { return Vec::new() };
        let names = self.lists.iter().filter(|(of, identity, _)| of == namespace && *identity == name);
        let issuers = names.filter_map(|(_, _, issuer)| self.issuer(domain, issuer));
        issuers.filter(|issuer| self.is_reachable(issuer)).collect()
    }

    fn is_reachable(&self, issuer: &Issuer) -> bool {
        self.url(issuer).is_some() && !matches!(issuer.kind, Kind::Outside { endpoint: None, .. })
    }

    fn lists(&self, namespace: &str, name: &str, url: &str) -> bool {
        self.listed(namespace, name).iter().any(|issuer| self.url(issuer) == Some(url))
    }

    /// Whether a policy may demand this token of a caller.
    pub(super) fn can_bring(&self, policy: &Policy, source: &From, token: Token) -> bool {
        let (Some(domain), To::Identity(callee, _)) = (self.domain_of(&policy.namespace), &policy.to) else {
            return false;
        };
        let Token::Issuer { name, introspected, one_time } = token else {
            return matches!(source, From::Identity(_, "x"));
        };
        let issuers = &self.domains[domain].issuers;
        let meant = match name {
            Some(name) => self.issuer(domain, name),
            None => issuers.first().filter(|_| issuers.len() == 1),
        };
        let Some((issuer, url)) = meant.and_then(|issuer| Some((issuer, self.url(issuer)?))) else { return false };
        let can_be_checked = match &issuer.kind {
            Kind::BuiltIn { opaque, .. } => introspected || !(*opaque || one_time),
            Kind::Outside { .. } => !one_time,
        };
        let can_be_had = match source {
            From::Identity(namespace, name) => self.lists(namespace, name, url),
            From::Domain(domain) => self.domains.get(*domain).is_some_and(|domain| {
                domain.issuers.iter().any(|issuer| self.is_reachable(issuer) && self.url(issuer) == Some(url))
            }),
            From::Pods(..) | From::Cidr(_) | From::Anywhere => true,
            From::KubernetesApi => false,
        };
        can_be_checked && can_be_had && (!introspected || self.lists(&policy.namespace, callee, url))
    }

    /// Who can get a token of the built-in issuer, and for whom: SPIFFE IDs, and [`CLIENT`] for the client outside that all
    /// domains with clients register, from all of their addresses.
    pub(crate) fn tokens(&self) -> BTreeSet<(String, String)> {
        let mut tokens = BTreeSet::new();
        for policy in self.policies.iter().filter(|policy| !policy.draft) {
            let (To::Identity(callee, _), Some((_, Some(Token::Issuer { name, .. })))) =
                (&policy.to, policy.authentication)
            else {
                continue;
            };
            let Some(domain) = self.domain_of(&policy.namespace) else { continue };
            let meant = name.map_or(self.domains[domain].issuers.first(), |name| self.issuer(domain, name));
            let Some(Issuer { kind: Kind::BuiltIn { clients, .. }, .. }) = meant else { continue };
            for source in policy.from.iter().filter(|source| self.accepts(policy, source).is_some()) {
                let mut callers: Vec<String> = self
                    .identities()
                    .filter(|(namespace, name)| self.lists(namespace, name, "built-in"))
                    .filter(|(namespace, name)| match source {
                        From::Identity(of, is) => (of, is) == (namespace, name),
                        From::Domain(domain) => self.domain_of(namespace) == Some(*domain),
                        _ => false,
                    })
                    .map(|(namespace, name)| self.spiffe_id(&namespace, name))
                    .collect();
                let covers = |range: &str| {
                    let range: IpNet = range.parse().unwrap();
                    let within = |client: &IpNet| range.prefix_len() == 0 || range.contains(client);
                    clients.iter().all(|client| within(&client.parse().unwrap()))
                };
                let is_outside = match source {
                    From::Anywhere => true,
                    From::Cidr(cidr) => covers(cidr),
                    _ => false,
                };
                callers.extend((is_outside && !clients.is_empty()).then(|| CLIENT.to_owned()));
                tokens.extend(callers.into_iter().map(|caller| (caller, self.spiffe_id(&policy.namespace, callee))));
            }
        }
        tokens
    }

    pub(super) fn identities(&self) -> impl Iterator<Item = (String, &'static str)> {
        self.namespaces().into_iter().flat_map(|namespace| IDENTITIES.map(|name| (namespace.clone(), name)))
    }

    fn spiffe_id(&self, namespace: &str, name: &str) -> String {
        let domain = self.domain_of(namespace).unwrap();
        format!("spiffe://d{domain}/ns/{namespace}/sa/{name}")
    }

    /// Whether the way from one to the other is open without a policy: on the side of the one who goes out, or of the one
    /// who is called.
    pub(super) fn is_implied(
        &self,
        from: &Party,
        to: &Party,
        port: u16,
        [from_address, to_address]: [Option<IpAddr>; 2],
        out: bool,
    ) -> bool {
        let within = |address: Option<IpAddr>, cidr: &str| {
            address.is_some_and(|address| cidr.parse::<IpNet>().unwrap().contains(&address))
        };
        let token_service =
            self.token_service.as_ref().filter(|(of, name)| self.domain_of(of).is_some() && IDENTITIES.contains(name));
        let is_token_service = |party: &Party| {
            port == TOKEN_PORT && token_service.is_some_and(|(of, name)| *party == Party::Identity(of.clone(), name))
        };
        let mut listed = match from {
            Party::Identity(namespace, name) => self.listed(namespace, name).into_iter(),
            _ => Vec::new().into_iter(),
        };
        if !out {
            let own = |cidr: &&str| {
                CLUSTER_RANGES.iter().any(|range| {
                    from_address.is_some_and(|address| {
                        range.parse::<IpNet>().unwrap().contains(&address) && !cidr.ends_with("/0")
                    })
                })
            };
            let mut clients =
                self.domains.iter().flat_map(|domain| &domain.issuers).flat_map(|issuer| match &issuer.kind {
                    Kind::BuiltIn { clients, .. } => clients.as_slice(),
                    Kind::Outside { .. } => &[],
                });
            return is_token_service(to)
                && (listed.any(|issuer| matches!(issuer.kind, Kind::BuiltIn { .. }))
                    || clients.any(|cidr| cidr.ends_with("/0") || (within(from_address, cidr) && !own(cidr))));
        }
        listed.any(|issuer| match &issuer.kind {
            Kind::BuiltIn { .. } => is_token_service(to),
            Kind::Outside { endpoint: Some(Endpoint::Pods(namespace)), .. } => {
                self.domain_of(namespace).is_none()
                    && port == ISSUER_PORT
                    && matches!(to, Party::Pod(of, _) if of == namespace)
            }
            Kind::Outside { endpoint: Some(Endpoint::Cidr(cidr)), .. } => {
                port == ISSUER_PORT && within(to_address, cidr)
            }
            Kind::Outside { endpoint: None, .. } => false,
        })
    }
}

impl Issuer {
    pub(super) fn is_built_in(&self) -> bool {
        matches!(self.kind, Kind::BuiltIn { .. })
    }

    pub(super) fn object(&self) -> Value {
        let mut object = json!({"name": self.name});
        match &self.kind {
            Kind::BuiltIn { opaque, clients } => {
                object["builtIn"] = json!({"tokenFormat": if *opaque { "Opaque" } else { "Jwt" }});
                if !clients.is_empty() {
                    object["builtIn"]["clients"] = json!({"secretName": CLIENTS_SECRET, "cidrs": clients});
                }
            }
            Kind::Outside { url, endpoint } => {
                object["issuer"] = json!(url);
                let ports = json!([{"port": ISSUER_PORT}]);
                match endpoint {
                    Some(Endpoint::Pods(name)) => {
                        object["endpoint"] = json!({"pods": {"namespaces": [name]}, "ports": ports})
                    }
                    Some(Endpoint::Cidr(cidr)) => object["endpoint"] = json!({"cidrs": [cidr], "ports": ports}),
                    None => {}
                }
            }
        }
        object
    }
}

impl Token {
    pub(super) fn object(self) -> Value {
        match self {
            Self::Caller => json!({}),
            Self::Issuer { name, introspected, one_time } => json!({
                "signer": "Issuer", "issuer": name, "oneTime": one_time,
                "validation": if introspected { "Introspection" } else { "Jwks" },
            }),
        }
    }
}

fn cidr() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["203.0.113.0/24", "10.0.0.0/8", "10.244.0.0/16", "192.0.2.0/24", "0.0.0.0/0"][..])
}

pub(super) fn built_in() -> impl Strategy<Value = Issuer> {
    (prop::bool::weighted(0.2), prop::collection::btree_set(cidr(), 0..2)).prop_map(|(opaque, clients)| Issuer {
        name: "sts",
        kind: Kind::BuiltIn { opaque, clients: clients.into_iter().collect() },
    })
}

pub(super) fn issuers() -> impl Strategy<Value = Vec<Issuer>> {
    let endpoint = prop_oneof![
        prop::sample::select(&["out-a", "out-b", "d0a"][..]).prop_map(|name| Endpoint::Pods(name.to_owned())),
        cidr().prop_map(Endpoint::Cidr),
    ];
    let outside = (
        prop::sample::select(&["https://one.example", "https://two.example"][..]),
        prop::option::weighted(0.8, endpoint),
    )
        .prop_map(|(url, endpoint)| Issuer { name: "login", kind: Kind::Outside { url, endpoint } });
    (prop::option::weighted(0.8, built_in()), prop::option::weighted(0.3, outside))
        .prop_map(|(built_in, outside)| built_in.into_iter().chain(outside).collect())
}

pub(super) fn tokens() -> impl Strategy<Value = Token> {
    let name = prop::option::weighted(0.7, prop::sample::select(&["sts", "sts", "login"][..]));
    prop_oneof![
        1 => Just(Token::Caller),
        3 => (name, prop::bool::weighted(0.3), prop::bool::weighted(0.1))
            .prop_map(|(name, introspected, one_time)| Token::Issuer { name, introspected, one_time }),
    ]
}
