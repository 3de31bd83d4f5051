package rewrite

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// What is not edited keeps its bytes and order; what is edited reads back.
func FuzzForm(f *testing.F) {
	for _, s := range []string{"", "&", "a=1&b=2", "a&&=&b=%zz;", "%61=1&a=2+3&c=%", "a=1&b=2&a=3&"} {
		f.Add(s, "a", "new value")
	}
	f.Fuzz(func(t *testing.T, raw, name, value string) {
		parse := func() (*Form, error) { return ParseForm(raw) }
		form, err := parse()
		if errors.Is(err, ErrTooManyPairs) {
			return
		}
		if got := form.String(); got != raw {
			t.Fatalf("%q came back as %q", raw, got)
		}
		_, badQuery := url.ParseQuery(strings.ReplaceAll(raw, ";", "%3B"))
		if (err != nil) != (badQuery != nil) {
			t.Fatalf("%q: error %v, net/url says %v", raw, err, badQuery)
		}
		if err == nil {
			want, _ := url.ParseQuery(strings.ReplaceAll(raw, ";", "%3B"))
			if got := form.Values(name); !slices.Equal(got, want[name]) {
				t.Fatalf("%q: Values(%q) = %q, net/url says %q", raw, name, got, want[name])
			}
		}
		form.Duplicate(name)
		form.Lookalike(name, "scope")

		others := func(s string) []string { // the pairs of other names, spelt as they are
			var kept []string
			if s == "" {
				return nil
			}
			for p := range strings.SplitSeq(s, "&") {
				n, _, _ := strings.Cut(p, "=")
				if n, _ = unescape(n); n != name || p == "" {
					kept = append(kept, p)
				}
			}
			return kept
		}
		form.Set(name, value)
		again, err := ParseForm(form.String())
		if errors.Is(err, ErrTooManyPairs) {
			return
		}
		if got := again.Values(name); !slices.Equal(got, []string{value}) {
			t.Fatalf("%q: after Set(%q, %q) it reads %q", raw, name, value, got)
		}
		if got, want := others(form.String()), others(raw); !slices.Equal(got, want) {
			t.Fatalf("Set changed other pairs: %q, want %q", got, want)
		}
		form, _ = parse()
		form.Del(name)
		if form.Has(name) {
			t.Fatalf("%q: %q is there after Del", raw, name)
		}
		if got, want := form.String(), strings.Join(others(raw), "&"); got != want {
			t.Fatalf("Del made %q, want %q", got, want)
		}
	})
}

// Any Location is read without a panic, and what AppendParams adds is found.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{"https://app.test/cb?x=1", "https://app.test/cb#x", "?code=a&error=b", "#?&%", "/cb?&"} {
		f.Add(s, "state value", true)
		f.Add(s, "&#?", false)
	}
	f.Fuzz(func(t *testing.T, location, value string, fragment bool) {
		LocationParams(location)
		got := AppendParams(location, fragment, [2]string{"error", value})
		added := strings.NewReplacer("error="+string(appendEscaped(nil, value)), "").Replace(got)
		if !fragment && strings.Contains(location, "#") && !strings.Contains(got, location[strings.IndexByte(location, '#'):]) {
			t.Fatalf("%q lost its fragment: %q", location, got)
		}
		if len(added) > len(location)+1 && !strings.Contains(location, "error=") {
			t.Fatalf("%q became %q", location, got)
		}
		if strings.Count(location, "&") > maxPairs-2 || !fragment && strings.Contains(location, "#") {
			return // a fragment with an error of its own goes before the query
		}
		params, ok := LocationParams(got)
		if !ok || !slices.Contains(params.Values("error"), value) {
			t.Fatalf("%q: not found in %q", value, got)
		}
	})
}

// members lists names and values as encoding/json sees them, in order.
func members(t *testing.T, b []byte) (names []string, values []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		names, values = append(names, name.(string)), append(values, string(v))
	}
	return names, values
}

// depth is how deep the valid JSON b nests.
func depth(b []byte) (deepest int) {
	d, n := json.NewDecoder(bytes.NewReader(b)), 0
	for {
		tok, err := d.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			n++
			deepest = max(deepest, n)
		case json.Delim('}'), json.Delim(']'):
			n--
		}
	}
}

// encoding/json agrees on what an object is, on each name and value, and that
// an edit changes the one member alone.
func FuzzObject(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a":1,"b":[1,{"a":2}],"\u0061":"x"}`, `{"a":1.50e+10 , "b" : "\ud800\/" }`,
		`{"refresh_token":"x","expires_in":12345678901234567890}`, "{\"a\":\"\xff\"}", `{"a":01}`, `{"a":1,}`, `[]`, `{"a":"\u12`,
	} {
		f.Add([]byte(s), "a", "new")
	}
	f.Fuzz(func(t *testing.T, b []byte, name, value string) {
		Salvage(b, name)
		o, err := ParseObject(b)
		trimmed := bytes.TrimLeft(b, " \t\r\n")
		valid := json.Valid(b) && trimmed[0] == '{'
		if err != nil {
			if valid && depth(b) <= maxDepth {
				if names, _ := members(t, b); len(names) <= maxMembers {
					t.Fatalf("%q refused: %v", b, err)
				}
			}
			return
		}
		if !valid {
			t.Fatalf("%q taken, encoding/json refuses it", b)
		}
		if !bytes.Equal(o.Bytes(), b) {
			t.Fatalf("%q came back as %q", b, o.Bytes())
		}
		name = strings.ToValidUTF8(name, "\ufffd") // as a name that is set is written
		checkReads(t, o, b, name)
		checkEdits(t, b, name, value)
	})
}

// checkReads compares what o says of a member with encoding/json.
func checkReads(t *testing.T, o *Object, b []byte, name string) {
	t.Helper()
	names, values := members(t, b)
	last := -1
	for i, n := range names {
		if n == name {
			last = i
		}
	}
	raw, ok := o.Raw(name)
	if ok != (last >= 0) || ok && string(raw) != values[last] {
		t.Fatalf("%q: Raw(%q) = %q, %t", b, name, raw, ok)
	}
	var want any
	if ok {
		_ = json.Unmarshal(raw, &want) // 1e999 leaves it nil
	}
	text, isText := want.(string)
	if got, ok := o.Text(name); got != text || ok != isText {
		t.Fatalf("%q: Text(%q) = %q, %t, want %q, %t", b, name, got, ok, text, isText)
	}
	number, isNumber := want.(float64)
	if got, ok := o.Number(name); ok != isNumber || ok && got != number {
		t.Fatalf("%q: Number(%q) = %v, %t, want %v, %t", b, name, got, ok, number, isNumber)
	}
}

// checkEdits sets and removes one member and compares all others.
func checkEdits(t *testing.T, b []byte, name, value string) {
	t.Helper()
	names, values := members(t, b)
	quoted := string(appendString(nil, value))
	var setNames, setValues, delNames, delValues []string
	for i, n := range names {
		if n != name {
			delNames, delValues = append(delNames, n), append(delValues, values[i])
			setNames, setValues = append(setNames, n), append(setValues, values[i])
		} else if !slices.Contains(setNames, name) {
			setNames, setValues = append(setNames, n), append(setValues, quoted)
		}
	}
	if !slices.Contains(setNames, name) {
		setNames, setValues = append(setNames, name), append(setValues, quoted)
	}
	check := func(what string, o *Object, wantNames, wantValues []string) {
		if !json.Valid(o.Bytes()) {
			t.Fatalf("%s: %q is no JSON", what, o.Bytes())
		}
		gotNames, gotValues := members(t, o.Bytes())
		if !slices.Equal(gotNames, wantNames) || !slices.Equal(gotValues, wantValues) {
			t.Fatalf("%s %q: got %q", what, b, o.Bytes())
		}
	}
	o, _ := ParseObject(b)
	o.SetText(name, value)
	check("set", o, setNames, setValues)
	o, _ = ParseObject(b)
	o.Del(name)
	check("delete", o, delNames, delValues)
	o.AddToList("list", []string{name}, value)
	if !o.ListHas("list", strings.ToValidUTF8(value, "\ufffd")) && strings.ToValidUTF8(value, "\ufffd") == value {
		t.Fatalf("%q: %q was not added", o.Bytes(), value)
	}
	if !json.Valid(o.Bytes()) {
		t.Fatalf("after AddToList: %q is no JSON", o.Bytes())
	}
}

// A scope that was removed is gone, the others are there in order.
func FuzzScope(f *testing.F) {
	f.Add("openid online_access profile", "online_access")
	f.Add(" a\tb\u00a0a ", "a")
	f.Fuzz(func(t *testing.T, scope, name string) {
		if len(strings.Fields(name)) != 1 || strings.TrimSpace(name) != name {
			return
		}
		removed := RemoveScope(scope, name)
		want := slices.DeleteFunc(strings.Fields(scope), func(s string) bool { return s == name })
		if got := strings.Fields(removed); HasScope(removed, name) || !slices.Equal(got, want) {
			t.Fatalf("RemoveScope(%q, %q) = %q", scope, name, removed)
		}
		if added := AddScope(scope, name); !HasScope(added, name) || !strings.HasPrefix(added, scope) {
			t.Fatalf("AddScope(%q, %q) = %q", scope, name, added)
		}
	})
}
