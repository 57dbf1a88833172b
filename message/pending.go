package message

import (
	"errors"
	"io"
	"time"
)

// Temporary: signatures only, replaced file by file.

func Parse(r io.ReaderAt, size int64, lim *Limits) (*Outline, error) { return nil, errPending }
func ParseBytes(b []byte, lim *Limits) *Outline                      { return nil }
func (o *Outline) AppendBinary(b []byte) ([]byte, error)             { return b, errPending }
func (o *Outline) UnmarshalBinary(b []byte) error                    { return errPending }
func UnmarshalEnvelope(b []byte) (*Envelope, error)                  { return nil, errPending }
func DecodeBody(encoding string, r io.Reader) io.Reader              { return r }
func Text(p *Part, body io.Reader) io.Reader                         { return body }
func ParseDate(value string) (time.Time, error)                      { return time.Time{}, errPending }
func FormatDate(t time.Time) string                                  { return "" }
func DecodeWords(s string) string                                    { return s }
func EncodeWords(s string) string                                    { return s }
func NewMessageID(host string) string                                { return host }
func ValidFieldName(name string) bool                                { return false }
func ValidFieldValue(value string) bool                              { return false }
func WriteField(b []byte, name, value string) ([]byte, error)        { return b, errPending }
func ParseParams(value string) (first string, params []Param, defects []Defect) {
	return "", nil, nil
}
func ParseAddressList(value string) ([]Address, []Defect) { return nil, nil }

var errPending = errors.New("message: pending")

type Address struct{ Name, Mailbox, Host, RawName, Route string }

func (Address) String() string { return "" }
func (Address) Addr() string   { return "" }

type envelopeReader struct{ lim Limits }

func (e *envelopeReader) take(k fieldKind, f Field, base int64) {}
func (e *envelopeReader) envelope() *Envelope                   { return nil }
