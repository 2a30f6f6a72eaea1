//! GRUB: which slot is started is written in its environment block, which `grub.cfg` reads and counts down in.
//!
//! `muster_slot=a` is the good slot, `muster_try=b` the one on trial, `muster_tries=3` the starts it has left. Nothing
//! is tried if `muster_try` is empty or absent, or no start is left.
//!
//! **The file is written in place.** GRUB writes it by its disk blocks, and reads file systems without replaying their
//! journals: after a rename and a power cut it could count down in blocks that belong to another file by then.
//!
//! **A power cut while it is written does no harm**, because every write changes the first 512-byte sector only, and
//! disks write a sector whole or not at all. To keep it so, our three lines come first and always take the same room
//! (a missing letter is made up for by a second digit), so no other line ever moves to or from the second sector; if
//! that sector is in use, a comment line keeps the first one's end where it was. `grub.cfg` replaces one digit by
//! another, which moves nothing either. Lines of others are kept as they are.

use std::path::PathBuf;

use super::{Bootloader, Choice, Slot, running_slot};
use crate::disk;
use crate::install::InstallError;
use crate::world::World;

const HEADER: &[u8] = b"# GRUB Environment Block\n";
const SECTOR_BYTES: usize = 512;
/// `grub-editenv` makes 1024 bytes; some distributions more.
const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// One digit, so that `grub.cfg` counts down without moving a byte.
const STARTS_MAX: u32 = 9;

#[derive(Debug, Clone)]
pub struct Grub {
    /// Such as `/boot/grub/grubenv`.
    pub block: PathBuf,
}

/// Our variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    good: Slot,
    /// Slot and starts left.
    trial: Option<(Slot, u32)>,
}

impl Memory {
    fn read(block: &Block) -> Result<Self, String> {
        let good = match block.value("muster_slot") {
            Some(value) => Slot::from_letter(&value).ok_or_else(|| format!("muster_slot is {value:?}, not a or b"))?,
            None => return Err("it has no muster_slot".into()),
        };
        let tries = block.value("muster_tries").and_then(|count| count.parse().ok()).unwrap_or(0);
        let trial = block.value("muster_try").and_then(|letter| Slot::from_letter(&letter));
        Ok(Self { good, trial: trial.map(|slot| (slot, tries)) })
    }

    /// Always of the same length.
    fn lines(&self) -> String {
        let good = self.good.letter();
        match self.trial {
            Some((slot, starts)) => {
                let starts = starts.min(STARTS_MAX);
                format!("muster_slot={good}\nmuster_try={}\nmuster_tries={starts}\n", slot.letter())
            }
            None => format!("muster_slot={good}\nmuster_try=\nmuster_tries=00\n"),
        }
    }
}

/// An environment block that is sound: the header, lines, and `#` up to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    bytes: Vec<u8>,
    /// Where each line begins and ends, its line feed included; comments too.
    lines: Vec<(usize, usize)>,
}

impl Block {
    fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() < 2 * SECTOR_BYTES || !bytes.starts_with(HEADER) {
            return Err("it is not an environment block of at least 1024 bytes".into());
        }
        let end = bytes.iter().rposition(|&byte| byte != b'#').map_or(0, |last| last + 1);
        let mut lines = Vec::new();
        let mut begin = HEADER.len();
        while begin < end {
            let length = line_length(&bytes[begin..end]).ok_or("its last line has no end")?;
            lines.push((begin, begin + length));
            begin += length;
        }
        Ok(Self { bytes, lines })
    }

    /// As GRUB has it: of several, the last.
    fn value(&self, name: &str) -> Option<String> {
        let found = self.lines.iter().rev().find_map(|&line| self.value_in(line, name))?;
        Some(String::from_utf8_lossy(found).into_owned())
    }

    fn value_in(&self, (begin, end): (usize, usize), name: &str) -> Option<&[u8]> {
        self.bytes[begin..end - 1].strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    }

    fn is_ours(&self, line: (usize, usize)) -> bool {
        ["muster_slot", "muster_try", "muster_tries"].iter().any(|name| self.value_in(line, name).is_some())
    }

    fn is_filler(&self, (begin, end): (usize, usize)) -> bool {
        self.bytes[begin..end - 1].iter().all(|&byte| byte == b'#')
    }

    /// The first sector with these variables of ours; the rest of the block stays as it is.
    fn first_sector(&self, memory: &Memory) -> Result<Vec<u8>, String> {
        let mut sector = [HEADER, memory.lines().as_bytes()].concat();
        let mut is_crossed = false;
        for &(begin, end) in &self.lines {
            if self.is_ours((begin, end)) {
                if end > SECTOR_BYTES {
                    return Err("muster_slot, muster_try and muster_tries are not in its first 512 bytes: \
                        make it anew and set them first"
                        .into());
                }
            } else if begin < SECTOR_BYTES && !self.is_filler((begin, end)) {
                is_crossed |= end > SECTOR_BYTES;
                if is_crossed {
                    // The head of a line that goes on in the second sector ends where it ended.
                    fill(&mut sector, begin)?;
                }
                sector.extend(&self.bytes[begin..end.min(SECTOR_BYTES)]);
            }
        }
        let is_second_used = self.bytes[SECTOR_BYTES..].iter().any(|&byte| byte != b'#');
        if is_second_used && !is_crossed {
            fill(&mut sector, SECTOR_BYTES)?;
        }
        if sector.len() > SECTOR_BYTES {
            return Err(NO_ROOM.into());
        }
        sector.resize(SECTOR_BYTES, b'#');
        Ok(sector)
    }
}

const NO_ROOM: &str = "its first 512 bytes have no room for muster_slot, muster_try and muster_tries: \
    make it anew and set them first";

/// A comment line up to there.
fn fill(sector: &mut Vec<u8>, up_to: usize) -> Result<(), String> {
    match up_to.checked_sub(sector.len()) {
        Some(0) => {}
        // One byte is no comment line, and an empty line would not be skipped.
        None | Some(1) => return Err(NO_ROOM.into()),
        Some(_) => {
            sector.resize(up_to - 1, b'#');
            sector.push(b'\n');
        }
    }
    Ok(())
}

/// With its line feed. A backslash takes the byte after it along.
fn line_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\n' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

impl Grub {
    fn refused(&self, why: &str) -> InstallError {
        InstallError::Refused(format!("GRUB's environment block {}: {why}", self.block.display()))
    }

    fn read(&self, world: &dyn World) -> Result<(Block, Memory), InstallError> {
        let bytes = disk::read(world.disk(), &self.block, BLOCK_BYTES_MAX)
            .map_err(InstallError::disk(format!("reading {}", self.block.display())))?;
        let block = Block::parse(bytes).map_err(|why| self.refused(&why))?;
        let memory = Memory::read(&block).map_err(|why| self.refused(&why))?;
        // That it can be written is known before an update begins.
        block.first_sector(&memory).map_err(|why| self.refused(&why))?;
        Ok((block, memory))
    }

    /// Synced even if nothing changes: whoever wrote it may not have come so far.
    fn write(&self, world: &dyn World, block: &Block, memory: Memory) -> Result<(), InstallError> {
        let sector = block.first_sector(&memory).map_err(|why| self.refused(&why))?;
        let what = || InstallError::disk(format!("writing {}", self.block.display()));
        if block.bytes[..SECTOR_BYTES] != sector {
            world.disk().write_at(&self.block, 0, &sector).map_err(what())?;
        }
        world.disk().sync(&self.block).map_err(what())
    }
}

impl Bootloader for Grub {
    fn name(&self) -> &'static str {
        "grub"
    }

    fn running(&self, world: &dyn World) -> Result<Slot, InstallError> {
        running_slot(world)
    }

    /// A slot whose last start this is counts as tried still.
    fn choice(&self, world: &dyn World) -> Result<Choice, InstallError> {
        let (_, memory) = self.read(world)?;
        let running = self.running(world)?;
        let trial = memory.trial.filter(|&(slot, starts)| starts > 0 || slot == running);
        Ok(Choice { good: memory.good, trial: trial.map(|(slot, _)| slot) })
    }

    fn try_slot(&self, world: &dyn World, slot: Slot, starts: u32) -> Result<(), InstallError> {
        let (block, memory) = self.read(world)?;
        self.write(world, &block, Memory { trial: Some((slot, starts)), ..memory })
    }

    fn confirm(&self, world: &dyn World, slot: Slot) -> Result<(), InstallError> {
        let (block, _) = self.read(world)?;
        self.write(world, &block, Memory { good: slot, trial: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::Workbench;

    fn bench(content: &str) -> (Workbench, Grub) {
        let bench = Workbench::new();
        bench.started_from("a");
        bench.write("grubenv", block(content));
        let grub = Grub { block: bench.path("grubenv") };
        (bench, grub)
    }

    fn block(lines: &str) -> Vec<u8> {
        let mut bytes = [HEADER, lines.as_bytes()].concat();
        assert!(bytes.len() <= 1024);
        bytes.resize(1024, b'#');
        bytes
    }

    fn words(block: &[u8]) -> Vec<String> {
        let block = Block::parse(block.to_vec()).unwrap();
        let lines = block.lines.iter().filter(|&&line| !block.is_filler(line));
        lines.map(|&(begin, end)| String::from_utf8_lossy(&block.bytes[begin..end - 1]).into_owned()).collect()
    }

    /// What `grub.cfg` does before it starts the kernel.
    fn start(bench: &Workbench) -> String {
        let text = bench.text("grubenv");
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let (slot, trial, tries) = (value("muster_slot="), value("muster_try="), value("muster_tries="));
        if trial.is_empty() || tries == "0" {
            return slot;
        }
        let left = tries.parse::<u32>().unwrap() - 1;
        bench.write("grubenv", text.replace(&format!("muster_tries={tries}"), &format!("muster_tries={left}")));
        trial
    }

    #[test]
    fn a_trial_gets_its_starts_and_then_the_good_slot_is_back() {
        let (bench, grub) = bench("muster_slot=a\n");
        grub.try_slot(&bench, Slot::B, 2).unwrap();
        assert_eq!(grub.choice(&bench).unwrap(), Choice { good: Slot::A, trial: Some(Slot::B) });
        assert_eq!([(); 4].map(|()| start(&bench)), ["b", "b", "a", "a"]);
        assert_eq!(grub.choice(&bench).unwrap(), Choice { good: Slot::A, trial: None });
        bench.started_from("b");
        assert_eq!(grub.choice(&bench).unwrap().trial, Some(Slot::B), "its last start is under way");
        grub.confirm(&bench, Slot::B).unwrap();
        assert_eq!(grub.choice(&bench).unwrap(), Choice { good: Slot::B, trial: None });
        assert_eq!(start(&bench), "b");
    }

    #[test]
    fn others_variables_stay_and_so_do_the_files_blocks() {
        use std::os::unix::fs::MetadataExt;
        let inode = |bench: &Workbench| std::fs::metadata(bench.path("grubenv")).unwrap().ino();
        let (bench, grub) = bench("saved_entry=x\\\\y\\\nz\nmuster_slot=b\nnext=\n");
        let before = inode(&bench);
        grub.try_slot(&bench, Slot::A, 12).unwrap();
        assert_eq!(
            words(&bench.read("grubenv")),
            ["muster_slot=b", "muster_try=a", "muster_tries=9", "saved_entry=x\\\\y\\\nz", "next="]
        );
        assert_eq!((inode(&bench), bench.read("grubenv").len()), (before, 1024));
        assert_eq!(bench.names(""), ["cmdline", "grubenv"]);
    }

    /// Blocks in which others' lines take so many bytes after ours, in all of the ways they can lie over the border.
    fn others(bytes: usize) -> String {
        let mut lines = String::from("muster_slot=a\nmuster_try=\nmuster_tries=00\n");
        let begin = lines.len();
        while lines.len() - begin < bytes {
            let left = bytes - (lines.len() - begin);
            let value = "v".repeat(left.saturating_sub(4).min(23 + left % 7));
            lines += &format!("k{}={value}\n", left % 10);
        }
        lines
    }

    /// The block after a write of ours.
    fn written(block: &[u8], memory: Memory) -> Result<Vec<u8>, String> {
        let sector = Block::parse(block.to_vec()).unwrap().first_sector(&memory)?;
        assert_eq!(sector.len(), SECTOR_BYTES);
        Ok([&sector, &block[SECTOR_BYTES..]].concat())
    }

    fn memory(block: &[u8]) -> Memory {
        Memory::read(&Block::parse(block.to_vec()).unwrap()).unwrap()
    }

    #[test]
    fn whichever_sectors_of_a_write_arrive_the_old_or_the_new_choice_is_there_whole() {
        let memories = [(Slot::A, Some((Slot::B, 3))), (Slot::B, None), (Slot::B, Some((Slot::A, 9))), (Slot::A, None)];
        for bytes in 0..900 {
            let mut old = block(&others(bytes));
            for (good, trial) in memories {
                let is = Memory { good, trial };
                let new = written(&old, is).unwrap();
                for torn in [[&new[..512], &old[512..]].concat(), [&old[..512], &new[512..]].concat()] {
                    assert!([memory(&old), is].contains(&memory(&torn)), "{bytes}");
                    assert_eq!(words(&torn)[3..], words(&old)[3..], "{bytes}");
                }
                assert_eq!(memory(&new), is);
                old = new;
            }
        }
    }

    #[test]
    fn variables_that_others_set_first_are_taken_over_without_touching_the_second_sector() {
        let mut taken = 0;
        for bytes in 0..900 {
            let lines = others(bytes).replacen("muster_slot=a\nmuster_try=\nmuster_tries=00\n", "", 1);
            for ours in ["muster_slot=a\n", "muster_tries=10\nmuster_slot=a\nmuster_try=b\n"] {
                let is = Memory { good: Slot::A, trial: Some((Slot::B, 3)) };
                match written(&block(&format!("{lines}{ours}")), is) {
                    Ok(new) => {
                        taken += 1;
                        assert_eq!(memory(&new), is);
                        assert_eq!(words(&new)[3..], words(&block(&lines)));
                    }
                    Err(why) => assert!(bytes > 300 && why.contains("set them first"), "{bytes} {why}"),
                }
            }
        }
        assert!(taken > 800, "{taken}");
    }

    #[test]
    fn a_power_cut_at_any_moment_leaves_the_old_or_the_new_choice() {
        let (bench, grub) = bench("muster_slot=a\n");
        let cuts = bench.cut_everywhere(
            || grub.try_slot(&bench, Slot::B, 3),
            |_| assert_eq!(grub.choice(&bench).unwrap().good, Slot::A),
        );
        assert_eq!((cuts, grub.choice(&bench).unwrap().trial), (2, Some(Slot::B)));
    }

    #[test]
    fn what_is_no_sound_block_is_refused_and_left_alone() {
        let bad: [&[u8]; 5] = [
            b"",
            b"# GRUB Environment Block\nmuster_slot=a\n",
            &block("")[..],
            &block("muster_slot=c\n"),
            &block("muster_slot=a\nx=y"),
        ];
        for content in bad {
            let (bench, grub) = bench("");
            bench.write("grubenv", content);
            for outcome in [grub.try_slot(&bench, Slot::B, 3), grub.confirm(&bench, Slot::B)] {
                let error = outcome.unwrap_err().to_string();
                assert!(error.starts_with("GRUB's environment block /"), "{error}");
            }
            assert_eq!(bench.read("grubenv"), content);
        }
    }
}
