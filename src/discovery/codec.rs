//! Protocol Buffers by tonic's codec, with small buffers.
//!
//! tonic makes two of 8 KiB for each call, one a direction, as large as what it expects to come
//! often. Here a call is a stream that lasts as long as its proxy, and is silent most of the time:
//! with 10,000 of them the controller would keep 160 MB for nothing.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// An acknowledgement fits. What is larger makes room for itself.
const BUFFER: usize = 256;
/// What is encoded before it is handed on, in bytes; tonic's own default.
const YIELD: usize = 32 << 10;

/// Encodes `E` and decodes `D`.
pub struct LeanCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for LeanCodec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for LeanCodec<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = <ProstCodec<E, D> as Codec>::Encoder;
    type Decoder = <ProstCodec<E, D> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<E, D>::raw_encoder(BufferSettings::new(BUFFER, YIELD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<E, D>::raw_decoder(BufferSettings::new(BUFFER, YIELD))
    }
}
