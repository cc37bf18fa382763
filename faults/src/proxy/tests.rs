//! The readers find calls in pieces, and cut where they were told to.

use super::{
    link::{Read as _, Sent},
    *,
};

fn control(call: &'static str, moment: Moment) -> Control {
    let tricks = Mutex::new(vec![Trick { call, skip: 1, times: 1, moment }]);
    Control { tricks, ..Control::default() }
}

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nX-Amz-Target: AWSGlue.StartJobRun\r\ncontent-length: 2\r\n\r\n{}";

#[test]
fn an_operation_is_found_in_pieces_and_cut_off_the_second_time() {
    for moment in [Moment::BeforeAccept, Moment::AfterAccept] {
        let control = control("StartJobRun", moment);
        let mut reader = http::Reader::default();
        let (head, rest) = REQUEST.split_at(40);
        assert_eq!(reader.sent(head, &control), Sent::default());
        assert_eq!(reader.sent(rest, &control), Sent { forward: REQUEST.to_vec(), cut: None });
        let sent = reader.sent(REQUEST, &control);
        assert_eq!(sent.cut, Some(moment));
        assert_eq!(sent.forward.is_empty(), moment == Moment::BeforeAccept);
        assert_eq!(*lock(&control.cuts), [("StartJobRun".to_owned(), moment)]);
        let heard = lock(&control.calls);
        assert_eq!(heard.len(), if moment == Moment::BeforeAccept { 1 } else { 2 });
        assert!(heard.iter().all(|call| call.operation == "StartJobRun" && call.body == "{}"));
    }
}

#[test]
fn forms_and_strangers_pass() {
    let control = control("Publish", Moment::BeforeAccept);
    let mut reader = http::Reader::default();
    let form = b"POST / HTTP/1.1\r\ncontent-length: 24\r\n\r\nAction=Publish&TopicArn=x";
    // One byte short of what was promised: nothing goes on yet; then the rest is a stranger.
    assert_eq!(reader.sent(form, &control).forward.len(), form.len() - 1);
    assert_eq!(lock(&control.calls)[0].operation, "Publish");
    let strange = b"PUT /k HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut reader = http::Reader::default();
    assert_eq!(reader.sent(strange, &control).forward, strange);
    assert_eq!(reader.sent(b"whatever", &control).forward, b"whatever");
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

#[test]
fn a_statement_is_cut_off_after_its_sync() {
    let control = control("save_runs", Moment::AfterAccept);
    let mut reader = sql::Reader::default();
    let start = [&8_u32.to_be_bytes()[..], b"\0\x03\0\0"].concat();
    let parse = message(b'P', b"s1\0select save_runs($1)\0\0\0");
    let (bind, sync) = (message(b'B', b"\0s1\0\0\0"), message(b'S', b""));
    assert_eq!(reader.sent(&start, &control).cut, None);
    assert_eq!(reader.sent(&[parse, sync.clone()].concat(), &control).cut, None);
    assert_eq!(reader.sent(&[bind.clone(), sync.clone()].concat(), &control).cut, None, "the first passes");
    assert_eq!(reader.sent(&bind, &control), Sent { forward: bind.clone(), cut: None });
    assert_eq!(reader.sent(&sync, &control), Sent { forward: sync, cut: Some(Moment::AfterAccept) });
    let complete = message(b'C', b"SELECT 1\0");
    assert!(!reader.is_answered(&complete));
    assert!(reader.is_answered(&message(b'Z', b"I")));
}

#[test]
fn a_statement_is_cut_off_before_it_is_heard() {
    let control = control("BEGIN", Moment::BeforeAccept);
    let mut reader = sql::Reader::default();
    let start = [&8_u32.to_be_bytes()[..], b"\0\x03\0\0"].concat();
    let begin = message(b'Q', b"BEGIN\0");
    assert_eq!(reader.sent(&[start, begin.clone()].concat(), &control).cut, None);
    assert_eq!(reader.sent(&begin, &control), Sent { forward: Vec::new(), cut: Some(Moment::BeforeAccept) });
}
