package proxy

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
)

// part is the query or the body of an authorization request.
type part struct {
	raw  string
	form *rewrite.Form // nil: not a form, or one of too many parameters
	err  error         // why it cannot be read with certainty
	asks bool          // for online_access
	// ours says that it is one that the gateway has rewritten and the upstream sent
	// back to it, in a form or a redirect: its offline_access is the gateway's, and
	// nothing but a transaction makes a token of its code.
	ours bool
}

func newPart(raw string) *part {
	form, err := rewrite.ParseForm(raw)
	return &part{raw: raw, form: form, err: err}
}

// bodyPart reads the body of an authorization request; nil where it is empty. A
// body that is forwarded as it streams can be read again.
func (a *authorization) bodyPart(w http.ResponseWriter, r *http.Request) (*part, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	raw, e := readUpTo(w, r, maxBody+1)
	if e != nil {
		return nil, errPage{e}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(raw), r.Body), r.Body}
	isForm, text := checkFormHeader(r.Header) == nil, string(raw)
	doubtful := a.mentions(text)
	switch {
	case len(raw) > maxBody && (isForm || doubtful || a.Engine.Policy.HasOnlineOnly()):
		return nil, errPage{tooLarge()}
	case !isForm && doubtful:
		return nil, errPage{invalidRequest("An authorization request must be application/x-www-form-urlencoded, uncompressed")}
	case len(raw) == 0:
		return nil, nil
	case isForm:
		return newPart(text), nil
	}
	return &part{raw: text, err: errNoForm}, nil
}

// mentions says whether a scope that the gateway has to take out may be meant in
// text that cannot be parsed.
func (a *authorization) mentions(text string) bool {
	return saysLoosely(text, onlineAccess) || a.Engine.Policy.HasOnlineOnly() && saysLoosely(text, offlineAccess)
}

// saysLoosely says whether a word stands in text, in whatever escapes.
func saysLoosely(text, word string) bool {
	return strings.Contains(text, word) || strings.Contains(text, "%") && bytes.Contains(decodeFully(text), []byte(word))
}

// survey says, before anything changes, what the parts are together: some
// upstreams merge them.
func (a *authorization) survey(parts ...*part) {
	named, doubtful, mixed := false, false, false
	for _, p := range parts {
		if p == nil || p.form == nil {
			doubtful = doubtful || p != nil
			continue
		}
		p.asks, _ = asks(p.form)
		a.asked = a.asked || p.asks
		challenges := p.form.Loosely("code_challenge")
		p.ours = len(challenges) > 0 && !slices.ContainsFunc(challenges, func(c string) bool {
			_, ours := a.rewritten.get(c)
			return !ours
		})
		mixed = mixed || len(challenges) > 0 && !p.ours && !p.asks
		for _, client := range p.form.Loosely("client_id") {
			named = named || client != ""
			doubtful = doubtful || strings.Contains(client, "%") // escaped once more, or badly
			a.named = a.named || a.Engine.Policy.IsOnlineOnly(client)
		}
	}
	a.onlineOnly = a.named || (doubtful || !named) && a.Engine.Policy.HasOnlineOnly()
	for _, p := range parts {
		if p != nil && mixed {
			p.ours = false
		}
	}
}

// binding are the parameters by which a merging upstream could make of two parts
// another request than the gateway has read.
var binding = []string{
	"scope", "response_type", "client_id", "code_challenge", "code_challenge_method", "dpop_jkt", "audience", "resource", "request", "request_uri",
}

// fits refuses a request whose query and body are not one request, once both are
// rewritten: what one of them has of it, the other may only repeat.
func (a *authorization) fits(query, body *part) error {
	if body == nil || query.raw == "" || !a.asked && !a.named {
		return nil
	}
	if query.err != nil || body.err != nil {
		if !a.asked && body.err == errNoForm { // a login form of another kind
			return nil
		}
		return errPage{invalidRequest("The parameters of the query or of the body cannot be read")}
	}
	inQuery, inBody := repeatsPart(query.form, body.form), repeatsPart(body.form, query.form)
	if query.asks && !inQuery || body.asks && !inBody || !inQuery && !inBody {
		return errPage{invalidRequest("The query and the body are not the same request")}
	}
	return nil
}

// repeatsPart says whether a part says nothing that the whole request does not.
func repeatsPart(whole, part *rewrite.Form) bool {
	for _, name := range binding {
		got, want := part.Loosely(name), whole.Loosely(name)
		if name == "scope" {
			got, want = strings.Fields(strings.Join(got, " ")), strings.Fields(strings.Join(want, " "))
			slices.Sort(got)
			slices.Sort(want)
		}
		if len(part.Loosely(name)) > 0 && !slices.Equal(got, want) {
			return false
		}
	}
	return part.Lookalike(binding...) == ""
}
