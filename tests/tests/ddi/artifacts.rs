//! The bytes: whole, in part, their head and their digest.

use muster_tests::exchange::{Answer, Payload};
use muster_tests::field::{CONTENT, FILE, Field, MD5, NAME, SHA1};
use muster_tests::operator::{publish_components, roll_out, upload};
use serde_json::{Value, json};

const SIZE: usize = CONTENT.len();

/// A field with a running update, and the address of its file.
fn file() -> (Field, String) {
    let field = Field::new();
    let offer = field.running("1");
    let deployment = field.device.get(&offer.link).expect(200);
    let link = deployment.at("/deployment/chunks/0/artifacts/0/_links/download-http/href");
    let link = link.as_str().unwrap().to_owned();
    (field, link)
}

fn ask(file: &(Field, String), method: &str, headers: &[(&str, &str)]) -> Answer {
    file.0.device.send(method, &file.1, headers, Payload::None)
}

#[test]
fn a_whole_file_comes_with_everything_clients_look_at() {
    let file = file();
    let answer = ask(&file, "GET", &[]).expect(200);
    assert_eq!(answer.body, CONTENT);
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    assert_eq!(answer.header("content-length"), Some(SIZE.to_string().as_str()));
    assert_eq!(answer.header("etag"), Some(format!("\"{SHA1}\"").as_str()));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    assert_eq!(answer.header("content-disposition"), Some("attachment;filename=u.swu"));
    assert!(answer.header("last-modified").unwrap().ends_with(" GMT"));
}

#[test]
fn a_head_has_the_length_and_no_bytes() {
    let file = file();
    let answer = ask(&file, "HEAD", &[]).expect(200);
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("content-length"), Some(SIZE.to_string().as_str()));
    assert_eq!(answer.header("etag"), Some(format!("\"{SHA1}\"").as_str()));
}

#[test]
fn parts_are_206_and_say_where_they_belong() {
    let file = file();
    for (range, from, to) in [
        ("bytes=0-", 0, SIZE),
        ("bytes=3-", 3, SIZE),
        ("bytes=2-4", 2, 5),
        ("bytes=5-999", 5, SIZE),
        ("bytes=-4", 7, SIZE),
    ] {
        let answer = ask(&file, "GET", &[("range", range)]).expect(206);
        assert_eq!(answer.body, &CONTENT[from..to], "{range}");
        let place = format!("bytes {from}-{}/{SIZE}", to - 1);
        assert_eq!(answer.header("content-range"), Some(place.as_str()), "{range}");
        assert_eq!(answer.header("content-length"), Some((to - from).to_string().as_str()), "{range}");
    }
}

#[test]
fn a_range_behind_the_end_is_416_and_never_the_whole_file() {
    let file = file();
    for range in
        [format!("bytes={SIZE}-"), "bytes=9999-".into(), "bytes=5-3".into(), "bytes=x-".into(), "bytes=-0".into()]
    {
        let answer = ask(&file, "GET", &[("range", &range)]).expect(416);
        assert_eq!(answer.header("content-range"), Some(format!("bytes */{SIZE}").as_str()), "{range}");
        assert!(!answer.body.windows(SIZE).any(|window| window == CONTENT), "{range}");
    }
}

#[test]
fn an_unknown_unit_is_ignored() {
    let file = file();
    let answer = ask(&file, "GET", &[("range", "lines=1-2")]).expect(200);
    assert_eq!(answer.body, CONTENT);
}

#[test]
fn if_range_gives_the_part_only_of_the_same_file() {
    let file = file();
    let same = format!("\"{SHA1}\"");
    let part = ask(&file, "GET", &[("range", "bytes=3-"), ("if-range", &same)]).expect(206);
    assert_eq!(part.body, &CONTENT[3..]);
    let whole = ask(&file, "GET", &[("range", "bytes=3-"), ("if-range", "\"other\"")]).expect(200);
    assert_eq!(whole.body, CONTENT);
}

#[test]
fn if_match_of_another_file_is_412() {
    let file = file();
    let same = format!("\"{SHA1}\"");
    let _ = ask(&file, "GET", &[("if-match", &same)]).expect(200);
    let _ = ask(&file, "GET", &[("if-match", "*")]).expect(200);
    let _ = ask(&file, "GET", &[("if-match", "\"other\"")]).expect(412);
}

#[test]
fn md5sum_is_a_line_as_the_program_of_that_name_writes_it() {
    let (field, link) = file();
    let answer = field.device.get(&format!("{link}.MD5SUM")).expect(200);
    assert_eq!(answer.text().trim_end(), format!("{MD5}  {FILE}"));
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"), "{answer}");
}

#[test]
fn a_module_lists_its_files() {
    let (field, link) = file();
    let (list, _) = link.rsplit_once('/').unwrap();
    let files = field.device.get(list).expect(200).json();
    assert_eq!(files.as_array().unwrap().len(), 1);
    assert_eq!(files[0]["filename"], FILE);
    assert_eq!(files[0]["hashes"]["md5"], MD5);
}

#[test]
fn only_files_of_the_devices_own_updates_can_be_read() {
    let (field, link) = file();
    let other = field.another("sn-2");
    let theirs = link.replace("/sn-1/", "/sn-2/");
    let _ = other.get(&theirs).expect(404);
    let _ = other.get(&format!("{theirs}.MD5SUM")).expect(404);
    let _ = other.get(theirs.rsplit_once('/').unwrap().0).expect(404);
}

#[test]
fn files_that_are_not_there_are_404() {
    let (field, link) = file();
    let (list, _) = link.rsplit_once('/').unwrap();
    for name in ["other.swu", "u.swu.MD5", "u.swu.MD5SUM.MD5SUM", "..%2F..%2Fetc%2Fpasswd", "%2e%2e", "U.SWU", "%00"] {
        let _ = field.device.get(&format!("{list}/{name}")).expect(404);
    }
    for module in ["0", "-1", "99999", "x", "99999999999999999999"] {
        let _ = field.device.get(&format!("/softwaremodules/{module}/artifacts")).expect(404);
        let _ = field.device.get(&format!("/softwaremodules/{module}/artifacts/{FILE}")).expect(404);
    }
}

#[test]
fn odd_file_names_survive_the_way() {
    let field = Field::new();
    for (at, name) in ["a b.swu", "größe+1.bin", "100%.swu", "semi;colon=q.bin"].into_iter().enumerate() {
        let digest = upload(field.admin(), FILE, CONTENT);
        let version = format!("1.{at}");
        let component =
            json!([{ "name": "os", "version": version, "artifacts": [{ "digest": digest, "name": name }] }]);
        let release = publish_components(field.admin(), "odd", &version, &component);
        let _ = roll_out(field.admin(), &release, NAME, &json!({}));
        let link = field.device.link_to_come("deploymentBase");
        let artifact = field.device.get(&link).expect(200).at("/deployment/chunks/0/artifacts/0");
        assert_eq!(artifact["filename"], name);
        let href = |which: &str| artifact.pointer(&format!("/_links/{which}/href")).and_then(Value::as_str).unwrap();
        let answer = field.device.get(href("download-http")).expect(200);
        assert_eq!(answer.body, CONTENT);
        assert!(answer.header("content-disposition").is_some(), "{name}");
        assert!(field.device.get(href("md5sum-http")).expect(200).text().starts_with(MD5));
        let _ = field.device.report("deploymentBase", muster_tests::ddi::action_id(&link), ("closed", "success"));
    }
}

#[test]
fn a_big_file_can_be_fetched_in_pieces() {
    let field = Field::new();
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
    let digest = upload(field.admin(), "big.bin", &bytes);
    let component = json!([{ "name": "os", "version": "1", "artifacts": [{ "digest": digest }] }]);
    let release = publish_components(field.admin(), "big", "1", &component);
    let _ = roll_out(field.admin(), &release, NAME, &json!({}));
    let deployment = field.device.get(&field.device.link_to_come("deploymentBase")).expect(200);
    let artifact = deployment.at("/deployment/chunks/0/artifacts/0");
    assert_eq!((&artifact["filename"], &artifact["size"]), (&json!("big.bin"), &json!(bytes.len())));
    let link = artifact.pointer("/_links/download-http/href").and_then(Value::as_str).unwrap();
    let mut got = Vec::new();
    // As RAUC's stream reads: 128 KiB at a time, until it is told that there is no more.
    loop {
        let range = format!("bytes={}-{}", got.len(), got.len() + 131_071);
        let part = field.device.send("GET", link, &[("range", &range)], Payload::None);
        if part.status == 416 {
            break;
        }
        got.extend(part.expect(206).body);
    }
    assert_eq!(got, bytes);
}
