// Package message looks at Internet messages (RFC 5322) and MIME entities
// (RFC 2045–2049, 2183, 2231) without changing a byte of them, and writes new
// ones.
//
// Reading is lenient. Any sequence of octets is a message: there is no syntax
// error, only a list of [Defect] values beside the best structure that could
// be made out; the only errors are those of the reader underneath. What is
// beyond a limit of [Limits] becomes an opaque part or a raw field, and a
// defect. All views are offsets into the octets as received, so what is kept,
// signed and relayed is never a re-rendering.
//
//   - [ParseHeader] and [ReadHeader] give a [Header]: fields in order, each
//     with its exact octets, its unfolded value and its decoded text.
//   - [Parse] reads a whole message once, in bounded memory, and gives an
//     [Outline]: the envelope and the tree of parts with offsets and sizes, as
//     IMAP's ENVELOPE and BODYSTRUCTURE want them. An outline has a compact
//     binary form that is made to be stored.
//   - [ParseAddressList], [ParseDate], [ParseParams] and [DecodeWords] read
//     the values of structured fields.
//   - [DecodeBody] and [Text] turn the octets of a part into content.
//   - [Builder] writes new messages; [WriteField] writes one field. They are
//     strict: what could inject a field or break a line limit is an error.
//
// A line ends with CRLF; a lone LF is accepted as a line end too and noted. A
// lone CR is an ordinary octet.
package message
