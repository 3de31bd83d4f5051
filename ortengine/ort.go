package ortengine

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// Prefix begins every ORT. A token with it never reaches the upstream.
const Prefix = "ORT1."

// maxORT bounds what is looked at as an ORT, in characters.
const maxORT = 8 << 10

// ortVersion is the version of what is inside.
const ortVersion = 1

// ORT is what a token says. Nothing about it is stored: it is opaque to
// everyone but the gateway.
type ORT struct {
	Issuer  string
	Session sessions.ID
	Grant   sessions.GrantID
	Client  string
	// Thumbprint is the key it is bound to (RFC 7638), empty where it is not.
	Thumbprint string
	Issued     time.Time
}

// IsORT says whether a token looks like one of ours.
func IsORT(token string) bool { return strings.HasPrefix(token, Prefix) }

var errNotORT = errors.New("not an ORT")

// mint seals an ORT.
func (e *Engine) mint(o ORT) string {
	plain := []byte{ortVersion}
	for _, s := range []string{o.Issuer, string(o.Session), string(o.Grant), o.Client, o.Thumbprint} {
		plain = binary.AppendUvarint(plain, uint64(len(s)))
		plain = append(plain, s...)
	}
	plain = binary.AppendVarint(plain, o.Issued.Unix())
	return Prefix + base64.RawURLEncoding.EncodeToString(e.orts.Seal(plain, []byte(Prefix)))
}

// Open opens an ORT under any current sealing key. The error says nothing of
// what was wrong with it.
func (e *Engine) Open(token string) (ORT, error) {
	if !IsORT(token) || len(token) > maxORT || strings.ContainsAny(token, "\r\n") { // which base64 passes over
		return ORT{}, errNotORT
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token[len(Prefix):])
	if err != nil {
		return ORT{}, errNotORT
	}
	plain, err := e.orts.Open(sealed, []byte(Prefix))
	if err != nil {
		return ORT{}, errNotORT
	}
	return parseORT(plain)
}

func parseORT(plain []byte) (ORT, error) {
	if len(plain) == 0 || plain[0] != ortVersion {
		return ORT{}, errNotORT
	}
	rest := plain[1:]
	var fields [5]string
	for i := range fields {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return ORT{}, errNotORT
		}
		fields[i] = string(rest[used : used+int(n)])
		rest = rest[used+int(n):]
	}
	issued, used := binary.Varint(rest)
	if used <= 0 || used != len(rest) {
		return ORT{}, errNotORT
	}
	return ORT{
		Issuer:     fields[0],
		Session:    sessions.ID(fields[1]),
		Grant:      sessions.GrantID(fields[2]),
		Client:     fields[3],
		Thumbprint: fields[4],
		Issued:     time.Unix(issued, 0).UTC(),
	}, nil
}
