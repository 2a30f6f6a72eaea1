//! Under which addresses does the device stand in its networks?

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Found, Look};

/// A router may have hundreds (one per client of a VPN); these tell which device it is.
const INTERFACES_MAX: usize = 8;
/// Scope of link-local addresses in `/proc/net/if_inet6`: told by every interface and of use to nobody afar.
const SCOPE_LINK: &str = "20";

pub(super) fn gather(found: &mut Found, look: &Look<'_>) {
    let mut addresses = ipv4(look);
    for (name, address) in look.text("proc/net/if_inet6").unwrap_or_default().lines().filter_map(ipv6) {
        addresses.entry(name).or_default().push(address);
    }
    let names = look.names("sys/class/net").into_iter().filter(|name| name != "lo");
    for name in names.take(INTERFACES_MAX) {
        let text = |file: &str| look.text(&format!("sys/class/net/{name}/{file}"));
        found.put_some(&format!("network.{name}.state"), text("operstate"));
        // Of tunnels it is empty or zero.
        let mac = text("address").filter(|mac| mac.chars().any(|char| !matches!(char, '0' | ':' | '\n')));
        found.put_some(&format!("network.{name}.mac"), mac);
        found.put(&format!("network.{name}.addresses"), &addresses.remove(&name).unwrap_or_default().join(" "));
    }
}

/// A line is `address index prefix scope flags name`, all in hexadecimal.
fn ipv6(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, _, _, scope, _, name] = words[..] else { return None };
    let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
    (scope != SCOPE_LINK && !address.is_loopback()).then(|| (name.to_owned(), address.to_string()))
}

/// The kernel lists its own addresses without the interface; the narrowest route that holds one names it.
fn ipv4(look: &Look<'_>) -> BTreeMap<String, Vec<String>> {
    let table = look.text("proc/net/route").unwrap_or_default();
    let routes: Vec<(&str, u32, u32)> = table.lines().filter_map(route).collect();
    let mut addresses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for address in local(&look.text("proc/net/fib_trie").unwrap_or_default()) {
        let holds = |(_, network, mask): &&(&str, u32, u32)| u32::from(address) & mask == *network;
        let narrowest = routes.iter().filter(holds).max_by_key(|(_, _, mask)| *mask);
        if let Some((name, _, _)) = narrowest {
            addresses.entry((*name).to_owned()).or_default().push(address.to_string());
        }
    }
    addresses
}

/// Name, network and mask. Numbers are printed as the machine holds them in memory, which is the network's order.
fn route(line: &str) -> Option<(&str, u32, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &str| Some(u32::from_be_bytes(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()));
    let (name, network, mask) = (words.first()?, number(words.get(1)?)?, number(words.get(7)?)?);
    Some((name, network, mask))
}

/// Addresses of the machine itself: a leaf `|-- 192.0.2.7` followed by `/32 host LOCAL`.
fn local(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut leaf = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf.filter(|address| !address.is_loopback() && !found.contains(address))
        {
            found.push(address);
        }
    }
    found
}
