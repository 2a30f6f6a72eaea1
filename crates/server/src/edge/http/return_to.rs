//! Where may a browser be sent after a login? To a path of this server, or to a program on the person's own machine.
//!
//! Anywhere else would carry the ticket to strangers, or a person to a page that looks like ours.

/// No honest address is longer.
const BYTES_MAX: usize = 1000;

/// Where a browser goes next, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReturnTo {
    text: String,
    is_path: bool,
}

impl ReturnTo {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(['\\', '#']) {
            return None;
        }
        let made = |is_path| Some(Self { text: text.to_owned(), is_path });
        if let Some(rest) = text.strip_prefix('/') {
            return if rest.starts_with('/') { None } else { made(true) };
        }
        // RFC 8252, 7.3: addresses and not `localhost`, which may be anything.
        let rest = ["http://127.0.0.1:", "http://[::1]:"].iter().find_map(|start| text.strip_prefix(start))?;
        let (port, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse() != Ok(0_u16);
        if is_port && port.parse::<u16>().is_ok() && !path.contains('@') { made(false) } else { None }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Pages get it behind a `#`, which no server's log sees; programs see nothing of that.
    pub(crate) fn with_ticket(&self, ticket: &str) -> String {
        let joint = match (self.is_path, self.text.contains('?')) {
            (true, _) => '#',
            (false, true) => '&',
            (false, false) => '?',
        };
        format!("{}{joint}ticket={ticket}", self.text)
    }
}

/// Whether a host, with or without a port, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix("[::1]").map(|_| "[::1]").or_else(|| host.split(':').next()).unwrap_or_default();
    let port = host.strip_prefix(bare).unwrap_or_default();
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_port && ["127.0.0.1", "localhost", "[::1]"].contains(&bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_goes_to_this_server_or_to_its_own_machine_and_nowhere_else() {
        let far = [
            "",
            "//evil.example",
            "/\\evil.example",
            "/a\\b",
            "https://evil.example",
            "http://evil.example/",
            "http://127.0.0.1.evil.example:80/",
            "http://127.0.0.1:80@evil.example/",
            "http://127.0.0.1:80x/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1",
            "http://localhost:80/",
            "javascript:alert(1)",
            "data:text/html,x",
            "/a b",
            "/a\r\nSet-Cookie: x=y",
            "/#x",
            "evil",
            "?x",
        ];
        for text in far {
            assert_eq!(ReturnTo::parse(text), None, "{text:?}");
        }
        let near = [
            ("/", "/#ticket=t"),
            ("/ui/devices?x=1", "/ui/devices?x=1#ticket=t"),
            ("http://127.0.0.1:4711/done", "http://127.0.0.1:4711/done?ticket=t"),
            ("http://127.0.0.1:4711", "http://127.0.0.1:4711?ticket=t"),
            ("http://[::1]:4711/?a=b", "http://[::1]:4711/?a=b&ticket=t"),
        ];
        for (text, next) in near {
            assert_eq!(ReturnTo::parse(text).unwrap().with_ticket("t"), next);
        }
    }

    #[test]
    fn only_this_machine_is_this_machine() {
        for host in ["127.0.0.1", "127.0.0.1:80", "localhost:8080", "[::1]", "[::1]:8080"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "muster.example", "127.0.0.1.example", "localhost.example:80", "[::1].example", "127.0.0.1:x"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
