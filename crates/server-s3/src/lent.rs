//! A stream that is lent out: what was not read of it comes back.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};

/// A stream on loan.
#[derive(Debug)]
pub(crate) struct Lent<S> {
    stream: Option<S>,
    back: Back<S>,
}

/// Where it comes back to once nobody reads it any more.
#[derive(Debug)]
pub(crate) struct Back<S>(Arc<Mutex<Option<S>>>);

impl<S> Clone for Back<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Back<S> {
    /// The stream, if it is back.
    pub(crate) fn take(&self) -> Option<S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S> Lent<S> {
    /// Lends a stream.
    pub(crate) fn new(stream: S) -> (Self, Back<S>) {
        let back = Back(Arc::default());
        (Self { stream: Some(stream), back: back.clone() }, back)
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        let stream = self.stream.take();
        *self.back.0.lock().unwrap_or_else(PoisonError::into_inner) = stream;
    }
}

impl<S: Stream + Unpin> Stream for Lent<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        match &mut self.stream {
            Some(stream) => stream.poll_next_unpin(context),
            None => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn what_was_not_read_comes_back() {
        let (mut lent, back) = Lent::new(stream::iter(1..=3));
        assert_eq!(lent.next().await, Some(1));
        assert!(back.take().is_none(), "it is read still");
        drop(lent);
        let rest: Vec<i32> = back.take().unwrap().collect().await;
        assert_eq!(rest, [2, 3]);
    }
}
