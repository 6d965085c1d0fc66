//! Pipelines of 16 SETs decoded, and 16 replies written.
#![expect(clippy::unwrap_used, reason = "a benchmark's own bytes")]

use std::hint::black_box;

use bytes::{BufMut, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rhumb_resp::{Limits, Protocol, RequestDecoder, Writer};

const DEPTH: usize = 16;

fn codec(c: &mut Criterion) {
    let mut pipeline = BytesMut::new();
    for n in 0..DEPTH {
        let key = format!("key:{n:012}");
        Writer::new(&mut pipeline, Protocol::Resp2).command(&[b"SET", key.as_bytes(), b"xxx"]);
    }
    let mut group = c.benchmark_group("pipeline of 16");
    group.throughput(Throughput::Elements(DEPTH as u64));
    let mut decoder = RequestDecoder::new(Limits::AUTHENTICATED);
    let mut buffer = BytesMut::with_capacity(64 << 10);
    group.bench_function("decode SET", |b| {
        b.iter(|| {
            buffer.reserve(pipeline.len());
            buffer.put_slice(&pipeline);
            while let Some(request) = decoder.decode(&mut buffer).unwrap() {
                black_box(request.get(2));
            }
        });
    });
    group.bench_function("write bulk replies", |b| {
        b.iter_batched_ref(
            || BytesMut::with_capacity(4 << 10),
            |out| {
                let mut writer = Writer::new(out, Protocol::Resp2);
                (0..DEPTH).for_each(|_| writer.bulk(black_box(b"xxx")));
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
