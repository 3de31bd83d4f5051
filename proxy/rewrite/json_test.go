package rewrite

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// mustObject parses an object that is known to be good.
func mustObject(t testing.TB, b string) *Object {
	t.Helper()
	o, err := ParseObject([]byte(b))
	if err != nil {
		t.Fatalf("ParseObject(%q): %v", b, err)
	}
	return o
}

func TestObjectEdits(t *testing.T) {
	const odd = " {\"big\": 123456789012345678901234567890 ,\t\"e\":1.50E+02,\"\\u0061\":\"\\/\\u00e4\xff\",\"d\":1,\"d\":2, \"s\":\"x\" ,\"n\":{ \"s\" : [ 1 , 2 ] } }\r\n"
	tests := []struct {
		rule string
		raw  string
		edit func(*Object)
		want string
	}{
		{"nothing done, nothing changed", odd, func(*Object) {}, odd},
		{"set in place, all else keeps its bytes", odd, func(o *Object) { o.SetText("s", "y") }, strings.Replace(odd, `"x"`, `"y"`, 1)},
		{"append, all else keeps its bytes", odd, func(o *Object) { o.SetNumber("t", 1) }, strings.Replace(odd, "] } }", `] },"t":1 }`, 1)},
		{"remove, all else keeps its bytes", odd, func(o *Object) { o.Del("s") }, strings.Replace(odd, ` "s":"x" ,`, "", 1)},
		{"remove the first", `{ "a":1, "b":2, "c":3 }`, func(o *Object) { o.Del("a") }, `{ "b":2, "c":3 }`},
		{"remove a middle one", `{ "a":1, "b":2, "c":3 }`, func(o *Object) { o.Del("b") }, `{ "a":1, "c":3 }`},
		{"remove the last", `{ "a":1, "b":2, "c":3 }`, func(o *Object) { o.Del("c") }, `{ "a":1, "b":2 }`},
		{"remove the only one", `{ "a":1 }`, func(o *Object) { o.Del("a") }, `{ }`},
		{"remove all", `{"a":1,"a":2,"a":3}`, func(o *Object) { o.Del("a") }, `{}`},
		{"remove what is missing", `{ "a" : 1 }`, func(o *Object) { o.Del("b") }, `{ "a" : 1 }`},
		{"remove finds an escaped name", `{"refresh\u005ftoken":"x","a":1}`, func(o *Object) { o.Del("refresh_token") }, `{"a":1}`},
		{"remove leaves inner members of that name", `{"n":{"a":1},"a":2}`, func(o *Object) { o.Del("a") }, `{"n":{"a":1}}`},
		{"set keeps the first place and removes the others", `{"a":1,"b":2,"\u0061":3,"c":4,"a":5}`, func(o *Object) { o.SetNumber("a", 9) }, `{"a":9,"b":2,"c":4}`},
		{"set the last behind white space", `{"a":1 , "b":2 }`, func(o *Object) { o.SetNumber("b", 3) }, `{"a":1 , "b":3 }`},
		{"set in an empty object", ` { } `, func(o *Object) { o.SetNumber("a", 1) }, ` {"a":1 } `},
		{"set after all were removed", `{"a":1}`, func(o *Object) { o.Del("a"); o.SetNumber("b", 2) }, `{"b":2}`},
		{"set twice", `{}`, func(o *Object) { o.SetNumber("b", 1); o.SetNumber("b", -2) }, `{"b":-2}`},
		{"set and remove", `{"a":1}`, func(o *Object) { o.SetText("b", ""); o.Del("b") }, `{"a":1}`},
		{"set a raw value", `{"a":1}`, func(o *Object) { o.Set("a", []byte(` {"x":[1.0]} `)) }, `{"a": {"x":[1.0]} }`},
		{"set no value", `{"a":1}`, func(o *Object) { o.Set("a", []byte(`1,"b":2`)) }, `{"a":null}`},
		{"set nothing", `{"a":1}`, func(o *Object) { o.Set("a", nil) }, `{"a":null}`},
		{"strings are escaped", `{}`, func(o *Object) { o.SetText("\"\\", "\"\\\n\x00<&ä\u2028\xff") }, `{"\"\\":"\"\\\u000A\u0000<&ä` + "\u2028\ufffd" + `"}`},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			o := mustObject(t, tt.raw)
			tt.edit(o)
			if got := string(o.Bytes()); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if !json.Valid(o.Bytes()) {
				t.Error("not valid JSON")
			}
		})
	}
}

func TestObjectReads(t *testing.T) {
	o := mustObject(t, `{"a":"1","a":"2","refresh\u005ftoken":"r\u00e9\/\"","n":3600,"f":-1.5e1,"q":"3600","huge":1e999,"z":null,"o":{"a":1},"bad":"`+"\xff"+`","half":"\ud800"}`)
	texts := []struct {
		name, want string
		ok         bool
	}{
		{"a", "2", true}, // the last one
		{"refresh_token", `ré/"`, true},
		{`refresh\u005ftoken`, "", false},
		{"n", "", false},
		{"z", "", false},
		{"o", "", false},
		{"missing", "", false},
		{"bad", "\ufffd", true},
		{"half", "\ufffd", true},
	}
	for _, tt := range texts {
		if got, ok := o.Text(tt.name); got != tt.want || ok != tt.ok {
			t.Errorf("Text(%q) = %q, %t, want %q, %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
	numbers := []struct {
		name string
		want float64
		ok   bool
	}{
		{"n", 3600, true},
		{"f", -15, true},
		{"q", 0, false},
		{"z", 0, false},
		{"missing", 0, false},
	}
	for _, tt := range numbers {
		if got, ok := o.Number(tt.name); got != tt.want || ok != tt.ok {
			t.Errorf("Number(%q) = %v, %t, want %v, %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
	if _, ok := o.Number("huge"); ok {
		t.Error("Number accepts 1e999")
	}
	if raw, ok := o.Raw("o"); string(raw) != `{"a":1}` || !ok {
		t.Errorf("Raw(o) = %s, %t", raw, ok)
	}
	if raw, ok := o.Raw("missing"); raw != nil || ok {
		t.Errorf("Raw(missing) = %s, %t", raw, ok)
	}
}

func TestParseObjectRefuses(t *testing.T) {
	tests := []struct{ rule, raw string }{
		{"nothing", ""},
		{"white space", " \n"},
		{"array", `[{"a":1}]`},
		{"string", `"a"`},
		{"null", "null"},
		{"two objects", `{}{}`},
		{"text behind it", `{} x`},
		{"byte order mark", "\ufeff{}"},
		{"other white space", "\u00a0{}"},
		{"form feed", "{\f}"},
		{"NUL behind it", "{}\x00"},
		{"cut short", `{"a":1`},
		{"cut in a name", `{"a`},
		{"cut in a string", `{"a":"b`},
		{"cut in an escape", `{"a":"\`},
		{"cut behind the colon", `{"a":`},
		{"comma at the end", `{"a":1,}`},
		{"comma at the start", `{,"a":1}`},
		{"comma twice", `{"a":1,,"b":2}`},
		{"no comma", `{"a":1 "b":2}`},
		{"no colon", `{"a" 1}`},
		{"no name", `{:1}`},
		{"name without quotes", `{a:1}`},
		{"single quotes", `{'a':1}`},
		{"comment", `{/**/}`},
		{"control byte in a string", "{\"a\":\"\n\"}"},
		{"bad escape", `{"a":"\x41"}`},
		{"bad hex", `{"a":"\u00g0"}`},
		{"short hex", `{"a":"\u00"}`},
		{"leading zero", `{"a":01}`},
		{"plus sign", `{"a":+1}`},
		{"lone minus", `{"a":-}`},
		{"dot without digits", `{"a":1.}`},
		{"dot first", `{"a":.5}`},
		{"exponent without digits", `{"a":1e}`},
		{"signed exponent without digits", `{"a":1e+}`},
		{"NaN", `{"a":NaN}`},
		{"word in capitals", `{"a":True}`},
		{"word cut short", `{"a":nul}`},
		{"word with more", `{"a":nulls}`},
		{"array with a comma at the end", `{"a":[1,]}`},
		{"array closed by a brace", `{"a":[1}}`},
		{"inner object without a name", `{"a":{1}}`},
		{"inner object with a comma at the end", `{"a":{"b":1,}}`},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			o, err := ParseObject([]byte(tt.raw))
			if !errors.Is(err, ErrNotObject) || o != nil {
				t.Errorf("ParseObject(%q) = %v, %v, want ErrNotObject", tt.raw, o, err)
			}
			if json.Valid([]byte(tt.raw)) && tt.raw[0] == '{' {
				t.Error("encoding/json takes it")
			}
		})
	}
}

func TestParseObjectBounds(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(`{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`)
	}
	if _, err := ParseObject(nested(maxDepth)); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
	if _, err := ParseObject(nested(maxDepth + 1)); !errors.Is(err, ErrNotObject) {
		t.Errorf("%d levels: %v", maxDepth+1, err)
	}
	members := func(n int) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":0`, i)
		}
		return []byte("{" + b.String()[1:] + "}")
	}
	if _, err := ParseObject(members(maxMembers)); err != nil {
		t.Errorf("%d members: %v", maxMembers, err)
	}
	if _, err := ParseObject(members(maxMembers + 1)); !errors.Is(err, ErrNotObject) {
		t.Errorf("%d members: %v", maxMembers+1, err)
	}
}

// An error goes into a log; what was parsed may be a credential.
func TestParseObjectErrorHoldsNoInput(t *testing.T) {
	_, err := ParseObject([]byte(`{"refresh_token":"marker-in-the-answer" marker}`))
	if err == nil || strings.Contains(err.Error(), "marker") {
		t.Errorf("error %v", err)
	}
	if want := "not one JSON object: no comma and no end at byte 40"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// The bytes that were parsed are never written to: they may be in use elsewhere.
func TestObjectLeavesItsInput(t *testing.T) {
	in := []byte(`{"a":["x"],"b":2,"c":3}`)
	before := string(in)
	o, err := ParseObject(in)
	if err != nil {
		t.Fatal(err)
	}
	o.AddToList("a", nil, "y")
	o.Del("b")
	o.SetText("d", "long enough to lie over what was there")
	o.Bytes()
	if string(in) != before {
		t.Errorf("input became %s", in)
	}
}

func TestSalvage(t *testing.T) {
	tests := []struct {
		rule, raw, want string
		ok              bool
	}{
		{"a whole object", `{"a":1,"refresh_token":"x"}`, "x", true},
		{"cut short", `{"refresh_token" : "x\u0079","a":"b`, "xy", true},
		{"in an array", `[{"refresh_token":"x"}]`, "x", true},
		{"in front of text", `{"refresh_token":"x"}<html>"`, "x", true},
		{"an escaped name", `x{"refresh\u005ftoken":"x"}`, "x", true},
		{"the last of two", `{"refresh_token":"x"}{"refresh_token":"y"}`, "y", true},
		{"behind a bad string", "{\"a\":\"\n\",\"b\":\"\\x\",\"refresh_token\":\"x\"}", "x", true},
		{"cut in the value", `{"refresh_token":"x`, "", false},
		{"no string", `{"refresh_token":1}`, "", false},
		{"as a value", `{"a":"refresh_token","b":"c"}`, "", false},
		{"inside a string", `{"a":"\"refresh_token\":\"x\""}`, "", false},
		{"a bad value", `{"refresh_token":"\x"}`, "", false},
		{"missing", `{"a":1}`, "", false},
		{"nothing", "", "", false},
	}
	for _, tt := range tests {
		if got, ok := Salvage([]byte(tt.raw), "refresh_token"); got != tt.want || ok != tt.ok {
			t.Errorf("%s: got %q, %t, want %q, %t", tt.rule, got, ok, tt.want, tt.ok)
		}
	}
}

// Strings are skipped eight bytes at a time: each byte at each place.
func TestStringBytes(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			s := []byte(`{"k":"abcdefghijklmnopqrst"}`)
			s[6+at] = byte(c)
			if _, err := ParseObject(s); (err == nil) != json.Valid(s) {
				t.Errorf("byte %#x at %d: error %v, encoding/json says %t", c, at, err, json.Valid(s))
			}
		}
	}
}
