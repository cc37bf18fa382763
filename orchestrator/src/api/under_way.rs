//! What one connection has under way: how many requests whose answers are not over. What they are about is not
//! known here.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

/// The requests of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<watch::Sender<usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Begun(UnderWay);

impl UnderWay {
    /// One more.
    pub(super) fn begin(&self) -> Begun {
        self.0.send_modify(|count| *count += 1);
        Begun(self.clone())
    }

    /// Ends when there has been none for so long.
    pub(super) async fn rests(&self, long: Duration) {
        let mut count = self.0.subscribe();
        // Neither wait fails: the sender is here.
        while count.wait_for(|count| *count == 0).await.is_ok() {
            if tokio::time::timeout(long, count.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl Begun {
    /// An answer's body, which is under way until all of it is sent or nobody wants it any more.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(Answer { body, _begun: self })
    }
}

struct Answer {
    body: Body,
    _begun: Begun,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Waker};

    use super::*;

    #[tokio::test]
    async fn a_connection_rests_from_the_end_of_its_last_answer_on() {
        let under_way = UnderWay::default();
        under_way.rests(Duration::ZERO).await;
        let answers =
            [under_way.begin(), under_way.begin()].map(|begun| begun.until_sent(Body::from("words")));
        assert_eq!(answers[0].size_hint().exact(), Some(5), "its length is still known");
        let mut rests = pin!(under_way.rests(Duration::ZERO));
        for answer in answers {
            assert!(rests.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            drop(answer);
        }
        rests.await;
    }
}
