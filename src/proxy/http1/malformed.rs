/// Why bytes are not the message that they should be. The code of each stays the same for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// A line ends without CR, or CR stands alone.
    BareLineEnd,
    /// The first line of a request is not method, target and version.
    RequestLine,
    /// The first line of an answer is not version, code and reason, or the code is not 100 to 599.
    StatusLine,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A field's name is empty, has an impossible character, or white space before the colon; or a line is folded.
    FieldName,
    /// A field's value has a control character.
    FieldValue,
    /// More than a hundred fields, or more than a hundred that `Connection` names.
    TooManyFields,
    /// The target is none of the four forms, or names a user or a fragment.
    Target,
    /// No Host, several, or one that cannot be.
    Host,
    /// Content-Length is not one number of at most 19 digits, or stands there twice, or under a name like it.
    ContentLength,
    /// Transfer-Encoding is not exactly `chunked`, or stands there twice, or under a name like it.
    TransferEncoding,
    /// Both Content-Length and Transfer-Encoding.
    TwoLengths,
    /// Transfer-Encoding in HTTP/1.0.
    ChunkedHttp10,
    /// A chunk's size is not a hexadecimal number of at most 15 digits.
    ChunkSize,
    /// A chunk does not end where its size says.
    ChunkEnd,
    /// Chunk extensions without end.
    ChunkExtension,
    /// The fields after the last chunk are malformed, too many, or would frame or route the message.
    Trailer,
    /// Max-Forwards is not one number.
    MaxForwards,
    /// A body of TRACE, which has none.
    TraceBody,
    /// A stream of HTTP/2 that is longer or shorter than it says, or ends with what cannot be there.
    Stream,
}

impl Malformed {
    /// All of them, for documentation and tests.
    pub const ALL: [Self; 20] = [
        Self::BareLineEnd,
        Self::RequestLine,
        Self::StatusLine,
        Self::Version,
        Self::FieldName,
        Self::FieldValue,
        Self::TooManyFields,
        Self::Target,
        Self::Host,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::TwoLengths,
        Self::ChunkedHttp10,
        Self::ChunkSize,
        Self::ChunkEnd,
        Self::ChunkExtension,
        Self::Trailer,
        Self::MaxForwards,
        Self::TraceBody,
        Self::Stream,
    ];

    /// The code for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::BareLineEnd => "bare_line_end",
            Self::RequestLine => "bad_request_line",
            Self::StatusLine => "bad_status_line",
            Self::Version => "bad_version",
            Self::FieldName => "bad_field_name",
            Self::FieldValue => "bad_field_value",
            Self::TooManyFields => "too_many_fields",
            Self::Target => "bad_target",
            Self::Host => "bad_host",
            Self::ContentLength => "bad_content_length",
            Self::TransferEncoding => "bad_transfer_encoding",
            Self::TwoLengths => "two_lengths",
            Self::ChunkedHttp10 => "chunked_http10",
            Self::ChunkSize => "bad_chunk_size",
            Self::ChunkEnd => "bad_chunk_end",
            Self::ChunkExtension => "chunk_extensions",
            Self::Trailer => "bad_trailer",
            Self::MaxForwards => "bad_max_forwards",
            Self::TraceBody => "trace_body",
            Self::Stream => "bad_stream",
        }
    }

    /// A sentence for people.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::BareLineEnd => "a line does not end in CRLF",
            Self::RequestLine => "the request line is malformed",
            Self::StatusLine => "the status line is malformed",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::FieldName => "a field's name is malformed",
            Self::FieldValue => "a field's value has a control character",
            Self::TooManyFields => "there are too many fields",
            Self::Target => "the request target is malformed",
            Self::Host => "the request must have one valid Host field",
            Self::ContentLength => "Content-Length is not one number",
            Self::TransferEncoding => "Transfer-Encoding is not chunked",
            Self::TwoLengths => "both Content-Length and Transfer-Encoding are given",
            Self::ChunkedHttp10 => "HTTP/1.0 has no Transfer-Encoding",
            Self::ChunkSize => "a chunk's size is malformed",
            Self::ChunkEnd => "a chunk does not end where its size says",
            Self::ChunkExtension => "there are too many chunk extensions",
            Self::Trailer => "the trailer is malformed",
            Self::MaxForwards => "Max-Forwards is not one number",
            Self::TraceBody => "TRACE has no body",
            Self::Stream => "the stream is not as long as it says, or has a malformed trailer",
        }
    }
}
