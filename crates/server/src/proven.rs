//! Whose certificates have been looked at already?
//!
//! A device that comes back shows the certificate that it showed before, and checking the signature on it is the dearest
//! part of a connection that is resumed. So it is kept which certificates the own authority was seen to have signed; what
//! may change since, the time and the device's key in the records, is asked every time.

use std::collections::HashMap;

use muster_trust::authority::verify::{Anchor, Anchors, BadChain, Leaf, Proven};
use muster_vocab::{Timestamp, limit};
use parking_lot::Mutex;

#[derive(Debug, Default)]
pub struct ProvenBefore {
    /// SHA-256 of a certificate, and the own authority that has signed it.
    signers: Mutex<HashMap<[u8; 32], i64>>,
}

impl ProvenBefore {
    /// An authority that is gone has signed nothing.
    pub fn prove(
        &self,
        anchors: &Anchors,
        (leaf, chain): (&Leaf, &[Vec<u8>]),
        now: Timestamp,
    ) -> Result<Proven, BadChain> {
        let before = self.signers.lock().get(&leaf.digest).copied().map(Anchor::Own);
        if let Some(signer) = before.filter(|signer| anchors.contains(signer)) {
            return leaf.prove_again(signer, now);
        }
        let proven = anchors.prove(leaf, chain, now)?;
        if let Anchor::Own(signer) = proven.by {
            let mut signers = self.signers.lock();
            // The next ones are looked at in full, and soon the busy ones are all back.
            if signers.len() >= limit::CERTIFICATES_PROVEN_MAX {
                signers.clear();
            }
            signers.insert(leaf.digest, signer);
        }
        Ok(proven)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_trust::authority::issue::{Issuer, make_root, request_issuing};
    use muster_trust::authority::request::Request;
    use muster_trust::authority::{DeviceName, pem};

    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const LIFE: Duration = Duration::from_secs(86_400);

    /// An issuing authority that believes itself as number 1, and the chain of a device that it let in.
    fn authority() -> (Anchors, Vec<Vec<u8>>) {
        let (certificate, key) = make_root("root", NOW).unwrap();
        let root = Issuer::open(&certificate, &key, true).unwrap();
        let (request, key) = request_issuing("issuing").unwrap();
        let certificate = root.sign_issuing(&request, NOW).unwrap();
        let issuing = Issuer::open(&certificate, &key, false).unwrap();
        let (request, _) = request_issuing("a device").unwrap();
        let name = DeviceName { project: "default".into(), device: "pump-1".into() };
        let issued = issuing.issue_device(&Request::parse(request.as_bytes()).unwrap(), &name, NOW, LIFE).unwrap();
        let (anchors, bad) = Anchors::new([(Anchor::Own(1), pem::ders(&certificate).remove(0))]);
        assert_eq!(bad, 0);
        (anchors, pem::ders(&issued.chain))
    }

    #[test]
    fn what_was_proven_once_holds_as_long_as_its_authority_and_its_time() {
        let ((anchors, chain), before) = (authority(), ProvenBefore::default());
        let leaf = Leaf::read(&chain[0]).unwrap();
        let first = before.prove(&anchors, (&leaf, &chain), NOW).unwrap();
        assert_eq!(before.prove(&anchors, (&leaf, &chain), NOW).unwrap(), first);
        assert_eq!(before.signers.lock().len(), 1);
        // What stands behind the first certificate doesn't matter any more: its signer is known.
        assert_eq!(before.prove(&anchors, (&leaf, &chain[..1]), NOW).unwrap(), first);
        let later = before.prove(&anchors, (&leaf, &chain), NOW.plus(LIFE * 2)).unwrap();
        assert!(later.is_over && !first.is_over);
        assert!(before.prove(&Anchors::default(), (&leaf, &chain), NOW).is_err(), "its authority is gone");
        let (others, _) = authority();
        assert!(before.prove(&others, (&leaf, &chain), NOW).is_ok(), "numbers of authorities are never given twice");
    }

    #[test]
    fn what_nobody_vouches_for_is_looked_at_in_full_each_time() {
        let ((_, chain), (others, _), before) = (authority(), authority(), ProvenBefore::default());
        let leaf = Leaf::read(&chain[0]).unwrap();
        for _ in 0..2 {
            assert!(before.prove(&others, (&leaf, &chain), NOW).is_err());
        }
        assert!(before.signers.lock().is_empty());
    }
}
