use super::super::PRUNE;
use super::super::checkpoint::{Signer, new_key};
use super::*;

fn signer() -> Signer {
    Signer::from_pkcs8(&new_key().unwrap()).unwrap()
}

/// A log with a checkpoint after each fourth record and after the last one.
fn lines(signer: &Signer, count: u64) -> Vec<Line> {
    let header = Header {
        version: VERSION,
        origin: "muster/default".into(),
        key: signer.public().to_string(),
        after: 0,
        edge: Vec::new(),
    };
    let mut lines = vec![Line::Header(header)];
    let (mut tree, mut head, mut after) = (Tree::default(), START, 0);
    for sequence in 1..=count {
        let mut record = Exported {
            sequence,
            at: 1000,
            actor: "account:ann".into(),
            action: if sequence == 10 { PRUNE.into() } else { "rollout.start".into() },
            target: format!("rollout:r-{sequence}"),
            detail: if sequence == 10 { "{\"through\":8}".into() } else { "{\"a\":1}".into() },
            // Records of older servers have none.
            context: if sequence > 2 { r#"{"authority":"token:7"}"#.into() } else { String::new() },
            previous: head,
            digest: START,
        };
        record.digest = record.recomputed();
        head = record.digest;
        tree.push(head);
        lines.push(Line::Record(record));
        if sequence % 4 == 0 || sequence == count {
            let origin = "muster/default".into();
            let (size, root, at) = (sequence, tree.root(), Timestamp(2000));
            lines.push(Line::Checkpoint(signer.sign(&Checkpoint { origin, size, after, root, head, at })));
            after = size;
        }
    }
    lines
}

fn told(lines: &[Line], known: &Known) -> String {
    let text: String = lines.iter().map(|line| write(line).unwrap()).collect();
    match verify(text.as_bytes(), known) {
        Ok(verified) => format!("{} records, {} checkpoints", verified.newest.size, verified.checkpoints),
        Err(fault) => fault.to_string(),
    }
}

fn edit(lines: &mut [Line], at: usize, change: impl FnOnce(&mut Exported)) {
    let Line::Record(record) = &mut lines[at] else { panic!("line {at} is no record") };
    change(record);
}

#[test]
fn an_untouched_log_is_believed() {
    assert_eq!(told(&lines(&signer(), 10), &Known::default()), "10 records, 3 checkpoints");
}

#[test]
fn the_first_fault_is_told_with_its_place() {
    let signer = signer();
    let told_after = |change: &dyn Fn(&mut Vec<Line>)| {
        let mut lines = lines(&signer, 10);
        change(&mut lines);
        told(&lines, &Known::default())
    };
    let edited = told_after(&|lines| edit(lines, 3, |record| record.actor = "account:eve".into()));
    assert_eq!(edited, "line 4: record 3 was changed: its digest does not fit");
    let removed = told_after(&|lines| drop(lines.remove(2)));
    assert_eq!(removed, "line 3: record 3 stands where record 2 belongs: one was removed, added or moved");
    let moved = told_after(&|lines| lines.swap(2, 3));
    assert_eq!(moved, "line 3: record 3 stands where record 2 belongs: one was removed, added or moved");
    let unsigned = told_after(&|lines| drop(lines.remove(5)));
    assert_eq!(unsigned, "line 10: a checkpoint follows that of 4 records, and the one before it here is of 0");
    let cut = told_after(&|lines| lines.truncate(8));
    assert_eq!(cut, "line 8: the file ends without a checkpoint of its last record: its tail was cut off or added");
}

#[test]
fn a_chain_that_was_recomputed_is_not_what_was_signed() {
    let signer = signer();
    let mut lines = lines(&signer, 10);
    let mut head = START;
    for line in &mut lines {
        if let Line::Record(record) = line {
            record.previous = head;
            record.actor = "account:eve".into();
            record.digest = record.recomputed();
            head = record.digest;
        }
    }
    assert_eq!(told(&lines, &Known::default()), "line 6: the 4 records so far are not those that were signed");
}

#[test]
fn what_is_known_from_elsewhere_shows_a_cut_tail_and_another_key() {
    let signer = signer();
    let whole = lines(&signer, 10);
    let Some(Line::Checkpoint(kept)) = whole.last().cloned() else { panic!("the last line is a checkpoint") };
    let known = Known { key: Some(signer.public()), kept: Some(kept) };
    assert_eq!(told(&whole, &known), "10 records, 3 checkpoints");
    // Back to an older checkpoint: the file alone can't show it.
    assert_eq!(told(&whole[..6], &Known::default()), "4 records, 1 checkpoints");
    assert_eq!(
        told(&whole[..6], &known),
        "line 6: the checkpoint kept elsewhere is of 10 records, and the file has 4: its tail was cut off"
    );
    let forged = lines(&self::signer(), 10);
    assert_eq!(told(&forged, &known), "line 1: the key in the file is not the one expected");
}

/// What stays of ten records after the first `dropped`.
fn without(signer: &Signer, dropped: u64) -> Vec<Line> {
    let whole = lines(signer, 10);
    let mut tree = Tree::default();
    let mut kept = vec![];
    for line in &whole[1..] {
        match line {
            Line::Record(record) if record.sequence <= dropped => tree.push(record.digest),
            Line::Checkpoint(note) if signer.public().open(note).unwrap().size < dropped => {}
            line => kept.push(line.clone()),
        }
    }
    let Line::Header(header) = &whole[0] else { panic!("the first line is the header") };
    kept.insert(0, Line::Header(Header { after: dropped, edge: tree.edge().to_vec(), ..header.clone() }));
    kept
}

#[test]
fn a_log_whose_old_records_were_dropped_is_believed_from_a_checkpoint_on() {
    let signer = signer();
    assert_eq!(told(&without(&signer, 8), &Known::default()), "10 records, 2 checkpoints");
    let unvouched = |change: &dyn Fn(&mut Vec<Line>)| {
        let mut lines = without(&signer, 8);
        change(&mut lines);
        told(&lines, &Known::default())
    };
    let no_beginning = "line 2: behind the header stands the checkpoint of the 8 records that were dropped";
    assert_eq!(unvouched(&|lines| drop(lines.remove(1))), no_beginning);
    let vanished = "line 10: the first 4 records are gone, and no record tells that somebody dropped them";
    assert_eq!(told(&without(&signer, 4), &Known::default()), vanished);
    let forged = unvouched(&|lines| {
        let Line::Header(header) = &mut lines[0] else { panic!("the first line is the header") };
        header.edge[0] = START;
    });
    assert_eq!(forged, no_beginning);
    let note = |size: u64| {
        let whole = lines(&signer, 10);
        whole.into_iter().find_map(|line| match line {
            Line::Checkpoint(note) if signer.public().open(&note).unwrap().size == size => Some(note),
            _ => None,
        })
    };
    let kept = |size| told(&without(&signer, 8), &Known { key: None, kept: note(size) });
    assert_eq!(kept(8), "10 records, 2 checkpoints");
    assert_eq!(
        kept(4),
        "line 1: the checkpoint kept elsewhere is of 4 records, and the first 8 were dropped: keep a newer one"
    );
}
