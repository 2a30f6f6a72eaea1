//! `identity`, `claim`, `authority`: whom does the server believe about its devices?

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use muster_vocab::{Sha256, limit};
use muster_wire::identity::{
    Authority, AuthorityCreate, Claim, ClaimCreate, ClaimsCreate, ClaimsCreated, IssuingAccept, IssuingRequest,
    ServerIdentity,
};
use serde_json::json;

use super::Here;
use super::kind::confirm;
use super::root::{self, OfflineArgs, SignIssuingArgs};
use crate::client::part;
use crate::exit::{Failed, Outcome};
use crate::output::{self, Format};

#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// The root certificate that devices pin, and the authorities that sign for them.
    Show,
    /// Make a new issuing authority. Certificates of those before stay good until they end.
    Rotate {
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum ClaimCommand {
    /// Tell the keys of devices that will come, from a factory's manifest.
    #[command(after_help = "Examples:
  muster claim import manifest.csv
  muster claim import manifest.csv --label batch=2026-47

The manifest is CSV with a line `name,key` on top: a device's serial number, and SHA-256 of its public key
(SubjectPublicKeyInfo, DER) in hexadecimal, with or without sha256: in front. Further columns are labels.
openssl tells a key's digest:
  openssl pkey -in device.key -pubout -outform DER | openssl dgst -sha256 -r")]
    Import {
        file: PathBuf,
        /// Given to each of the devices; repeat for more.
        #[arg(long, value_name = "KEY=VALUE", value_parser = crate::read::label)]
        label: Vec<(String, Option<String>)>,
    },
    /// All of them, and which have been used.
    List,
    /// Forget a key; a device that came in with it stays.
    Delete { name: String },
}

#[derive(Debug, Subcommand)]
pub enum AuthorityCommand {
    /// Believe the devices of another authority: the common name of a certificate is the device's name.
    #[command(after_help = "Examples:
  muster authority register plant-3 plant-ca.pem
  muster authority register --tpm infineon ek-root.pem")]
    Register {
        name: String,
        /// Its certificate, PEM.
        certificate: PathBuf,
        /// A maker of TPMs: believed about which chips are its own. The enrolment policy says what comes of that.
        #[arg(long)]
        tpm: bool,
    },
    List,
    /// Believe it no more; its devices are refused on their next request.
    Delete {
        name: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
    /// Take the root's key out of the server's data folder, into a file that goes into a safe.
    Offline(OfflineArgs),
    /// Ask for a new issuing authority: a request for the root to sign, wherever its key is.
    RequestIssuing {
        /// Made, never overwritten.
        file: PathBuf,
    },
    /// Sign a request with the root's key; needs no server.
    SignIssuing(SignIssuingArgs),
    /// Have the server sign for devices with what the root has signed.
    AcceptIssuing {
        /// PEM.
        file: PathBuf,
    },
}

pub fn identity(here: &Here, command: IdentityCommand) -> Outcome<()> {
    let format = if here.format == Format::Table { Format::Yaml } else { here.format };
    match command {
        IdentityCommand::Show => output::document(format, &here.client.get::<ServerIdentity>("/identity")?),
        IdentityCommand::Rotate { yes } => {
            if !yes {
                confirm("Make a new issuing authority, which signs from now on?")?;
            }
            output::document(format, &here.client.post::<ServerIdentity>("/identity/rotate", &json!({}))?)
        }
    }
}

pub fn claim(here: &Here, command: ClaimCommand) -> Outcome<()> {
    match command {
        ClaimCommand::Import { file, label } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let labels = label.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            let claims =
                manifest(&text, &labels).map_err(|wrong| Failed::Usage(format!("{}: {wrong}", file.display())))?;
            let mut created = 0;
            for part in claims.chunks(limit::CLAIMS_PER_REQUEST_MAX) {
                let made: ClaimsCreated = here.client.create("/claims", &ClaimsCreate { claims: part.to_vec() })?;
                created += made.created;
                eprintln!("{created} of {} keys", claims.len());
            }
            Ok(())
        }
        ClaimCommand::List => {
            let rows: Vec<Claim> = here.client.list("/claims", None, None)?;
            output::rows(here.format, &rows)
        }
        ClaimCommand::Delete { name } => {
            here.client.delete(&format!("/claims/{}", part(&name)))?;
            eprintln!("Forgot the key of {name}.");
            Ok(())
        }
    }
}

pub fn authority(here: impl Fn() -> Outcome<Here>, command: AuthorityCommand) -> Outcome<()> {
    // What is done where no server is, on the machine that has the root's key.
    if let AuthorityCommand::SignIssuing(args) = &command {
        return root::sign_issuing(args);
    }
    let here = &here()?;
    match command {
        AuthorityCommand::SignIssuing(args) => root::sign_issuing(&args),
        AuthorityCommand::Offline(args) => root::offline(here, &args),
        AuthorityCommand::RequestIssuing { file } => {
            let made: IssuingRequest = here.client.post("/identity/issuing-request", &json!({}))?;
            root::write_new(&file, &made.request, 0o644)?;
            eprintln!("Have the root sign {}: muster authority sign-issuing.", file.display());
            Ok(())
        }
        AuthorityCommand::AcceptIssuing { file } => {
            let certificate = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let now: ServerIdentity = here.client.post("/identity/issuing", &IssuingAccept { certificate })?;
            eprintln!("{} signs for devices from now on.", now.issuing.last().map_or("nobody", String::as_str));
            Ok(())
        }
        AuthorityCommand::Register { name, certificate, tpm } => {
            let text =
                std::fs::read_to_string(&certificate).with_context(|| format!("reading {}", certificate.display()))?;
            let made: Authority =
                here.client.create("/authorities", &AuthorityCreate { name, certificate: text, tpm })?;
            match tpm {
                true => eprintln!("TPMs of {} are believed to be real from now on.", made.name),
                false => eprintln!("The devices of {} are believed from now on.", made.name),
            }
            Ok(())
        }
        AuthorityCommand::List => {
            let rows: Vec<Authority> = here.client.list("/authorities", None, None)?;
            output::rows(here.format, &rows)
        }
        AuthorityCommand::Delete { name, yes } => {
            if !yes {
                confirm(&format!("Refuse all devices that come with certificates of {name}?"))?;
            }
            here.client.delete(&format!("/authorities/{}", part(&name)))?;
            eprintln!("{name} is believed no more.");
            Ok(())
        }
    }
}

/// The lines of a factory's manifest. A refusal names the line.
fn manifest(text: &str, labels: &BTreeMap<String, String>) -> Result<Vec<ClaimCreate>, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, head) = lines.next().ok_or("the file is empty")?;
    let columns: Vec<&str> = head.split(',').map(str::trim).collect();
    let at = |wanted: &str| {
        let found = columns.iter().position(|column| *column == wanted);
        found.ok_or_else(|| format!("line 1 names no column {wanted:?}; it has to begin with name,key"))
    };
    let (name_at, key_at) = (at("name")?, at("key")?);
    let mut claims = Vec::new();
    for (number, line) in lines {
        let values: Vec<&str> = line.split(',').map(|value| value.trim().trim_matches('"')).collect();
        let bad = |what: &str| format!("line {}: {what}", number + 1);
        if values.len() != columns.len() {
            return Err(bad(&format!("{} values for {} columns", values.len(), columns.len())));
        }
        let hex = values[key_at].strip_prefix("sha256:").unwrap_or(values[key_at]);
        let key: Sha256 = format!("sha256:{}", hex.to_ascii_lowercase())
            .parse()
            .map_err(|_| bad("the key is no SHA-256 of 64 hexadecimal digits"))?;
        let mut own = labels.clone();
        let further = columns.iter().zip(&values).enumerate().filter(|(at, _)| *at != name_at && *at != key_at);
        own.extend(
            further
                .filter(|(_, (_, value))| !value.is_empty())
                .map(|(_, (column, value))| ((*column).to_owned(), (*value).to_owned())),
        );
        claims.push(ClaimCreate { name: values[name_at].to_owned(), key, labels: own });
    }
    if claims.is_empty() { Err("there is no device in it".into()) } else { Ok(claims) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_names_keys_and_labels() {
        let key = "AB".repeat(32);
        let text = format!("name,key,site\nsn-1,{key},oslo\n\"sn-2\",sha256:{key},\n");
        let labels = BTreeMap::from([("batch".to_owned(), "7".to_owned())]);
        let claims = manifest(&text, &labels).unwrap();
        assert_eq!((claims[0].name.as_str(), claims[0].labels["site"].as_str()), ("sn-1", "oslo"));
        assert_eq!((claims[1].name.as_str(), claims[1].labels.len()), ("sn-2", 1));
        assert_eq!(claims[0].key, claims[1].key);
    }

    #[test]
    fn a_wrong_manifest_is_refused_by_line() {
        for (text, says) in [
            ("", "empty"),
            ("serial,key\n", "column \"name\""),
            ("name,key\n", "no device"),
            ("name,key\nsn-1\n", "line 2: 1 values for 2 columns"),
            ("name,key\nsn-1,zz\n", "line 2: the key is no SHA-256"),
        ] {
            let why = manifest(text, &BTreeMap::new()).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
