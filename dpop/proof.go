package dpop

import (
	"crypto"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bounds on what a stranger can make the verifier read.
const (
	// MaxProofSize is the longest proof that is read, in octets. A proof with
	// an RSA key of 8192 bits has about 3,600.
	MaxProofSize = 8 << 10
	// MaxIDSize is the longest jti, in octets.
	MaxIDSize = 256
)

// maxIssuedAt is the end of the year 9999; beyond it a number is no date.
const maxIssuedAt = 253402300799

// proof is one DPoP proof on its way through the checks. Each check reads what
// it needs and returns false after it has set refused.
type proof struct {
	raw     string // the whole JWS
	signed  string // header and payload, as they were signed
	payload []byte
	sig     []byte

	typ, alg string
	crit     bool
	jwkRaw   []byte
	jwk      jwk

	algorithm  *algorithm
	public     crypto.PublicKey
	thumbprint string

	id, htm, htu, ath, nonce string
	iat                      float64
	iatOK                    bool
	issuedAt                 time.Time
	uri                      string

	refused *Error
}

func (p *proof) refuse(why Reason, detail string) bool {
	p.refused = &Error{Reason: why, Detail: detail}
	return false
}

func (p *proof) askNonce(why Reason, detail string) bool {
	p.refused = &Error{Reason: why, Detail: detail, useNonce: true}
	return false
}

// single wants exactly one value of the header field. Proxies may join two by
// a comma (RFC 9110 §5.3); neither is taken then.
func (p *proof) single(values []string) bool {
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return p.refuse(ReasonMissing, "DPoP proof is missing")
	case len(values) > 1:
		return p.refuse(ReasonSeveral, "more than one DPoP header field")
	case len(values[0]) > MaxProofSize:
		return p.refuse(ReasonSize, "DPoP proof is longer than 8192 octets")
	case strings.IndexByte(values[0], ',') >= 0:
		return p.refuse(ReasonSeveral, "more than one DPoP proof in the header field")
	}
	p.raw = values[0]
	return true
}

// header splits the compact serialisation (RFC 7515 §7.1) and reads the JOSE
// header.
func (p *proof) header() bool {
	first := strings.IndexByte(p.raw, '.')
	last := strings.LastIndexByte(p.raw, '.')
	if first <= 0 || last-first < 2 || last == len(p.raw)-1 {
		return p.refuse(ReasonForm, "DPoP proof is not a signed JWT in compact form")
	}
	p.signed = p.raw[:last]
	buf := make([]byte, 0, len(p.raw))
	header, ok := appendBase64(buf, p.raw[:first])
	payload, ok2 := appendBase64(header[len(header):], p.raw[first+1:last])
	sig, ok3 := appendBase64(payload[len(payload):], p.raw[last+1:])
	if !ok || !ok2 || !ok3 {
		return p.refuse(ReasonForm, "DPoP proof is not a signed JWT in compact form with strict base64url")
	}
	p.payload, p.sig = payload, sig
	var m members
	if !m.walk(header) {
		return p.refuse(ReasonHeader, "JOSE header of the DPoP proof is not a JSON object")
	}
	for {
		name, value, ok := m.next()
		if !ok {
			break
		}
		switch string(name) {
		case "typ":
			p.typ, _ = text(value)
		case "alg":
			p.alg, _ = text(value)
		case "jwk":
			p.jwkRaw = value
		case "crit":
			p.crit = true
		}
	}
	if m.bad {
		return p.refuse(ReasonHeader, "JOSE header of the DPoP proof names a member twice or has too many")
	}
	return true
}

// appendBase64 decodes s behind dst and returns both. Characters outside the
// alphabet are refused here because encoding/base64 skips line breaks.
func appendBase64(dst []byte, s string) ([]byte, bool) {
	if !isBase64URL(s) {
		return dst, false
	}
	out, err := b64.AppendDecode(dst, []byte(s))
	return out, err == nil
}

func (p *proof) hasType() bool {
	// RFC 7515 §4.1.9: media types are compared without regard to case.
	if !strings.EqualFold(p.typ, "dpop+jwt") {
		return p.refuse(ReasonTyp, "typ of the DPoP proof is not dpop+jwt")
	}
	return true
}

func (p *proof) hasNoCrit() bool {
	if p.crit {
		return p.refuse(ReasonCrit, "DPoP proof has a crit header, and no extension is supported")
	}
	return true
}

func (p *proof) hasAlg(allowed []*algorithm, names string) bool {
	for _, a := range allowed {
		if a.name == p.alg {
			p.algorithm = a
			return true
		}
	}
	return p.refuse(ReasonAlg, "algorithm of the DPoP proof is not one of: "+names)
}

func (p *proof) hasJWK() bool {
	if p.jwkRaw == nil {
		return p.refuse(ReasonJWK, "DPoP proof has no jwk in its header")
	}
	if !p.jwk.parse(p.jwkRaw) {
		return p.refuse(ReasonJWK, "jwk of the DPoP proof is not a JSON Web Key")
	}
	return true
}

func (p *proof) hasPublicKey() bool {
	if p.jwk.private {
		return p.refuse(ReasonPrivateKey, "jwk of the DPoP proof holds a private key")
	}
	return true
}

func (p *proof) hasFittingKey() bool {
	if p.jwk.kty != p.algorithm.kty || p.jwk.curve() != p.algorithm.crv {
		return p.refuse(ReasonKeyType, "kty and crv of jwk do not fit the algorithm of the DPoP proof")
	}
	return true
}

func (p *proof) hasValidKey() bool {
	if p.public = p.jwk.public(p.algorithm); p.public == nil {
		return p.refuse(ReasonKey, "jwk of the DPoP proof is not a valid key (curve point, or RSA of 2048 to 8192 bits)")
	}
	return true
}

// claims reads the payload.
func (p *proof) claims() bool {
	var m members
	if !m.walk(p.payload) {
		return p.refuse(ReasonClaims, "payload of the DPoP proof is not a JSON object")
	}
	for {
		name, value, ok := m.next()
		if !ok {
			break
		}
		switch string(name) {
		case "jti":
			p.id, _ = text(value)
		case "htm":
			p.htm, _ = text(value)
		case "htu":
			p.htu, _ = text(value)
		case "ath":
			p.ath, _ = text(value)
		case "nonce":
			p.nonce, _ = text(value)
		case "iat":
			p.iat, p.iatOK = number(value)
		}
	}
	if m.bad {
		return p.refuse(ReasonClaims, "payload of the DPoP proof names a claim twice or has too many")
	}
	return true
}

// number reads a JSON number that is a NumericDate (RFC 7519 §2).
func number(raw []byte) (float64, bool) {
	if c := raw[0]; c < '0' || c > '9' {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return f, err == nil && f >= 1 && f <= maxIssuedAt
}

func (p *proof) hasID() bool {
	switch {
	case p.id == "":
		return p.refuse(ReasonID, "DPoP proof has no jti")
	case len(p.id) > MaxIDSize:
		return p.refuse(ReasonID, "jti of the DPoP proof is longer than 256 octets")
	}
	return true
}

func (p *proof) hasIssuedAt() bool {
	if !p.iatOK {
		return p.refuse(ReasonIssuedAt, "DPoP proof has no iat, or one that is no time in seconds")
	}
	sec, frac := math.Modf(p.iat)
	p.issuedAt = time.Unix(int64(sec), int64(frac*1e9))
	return true
}

func (p *proof) hasMethod(method string) bool {
	if p.htm != method || method == "" {
		return p.refuse(ReasonMethod, "htm of the DPoP proof is not the method of the request")
	}
	return true
}
