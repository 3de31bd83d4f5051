package rewrite

import (
	"slices"
	"testing"
)

func TestAddToList(t *testing.T) {
	tests := []struct{ rule, raw, want string }{
		{"append", `["a","b"]`, `["a","b","x","y"]`},
		{"what is there keeps its bytes", " [ \"\\u0061\" ,\n1.0 ] ", " [ \"\\u0061\" ,\n1.0,\"x\",\"y\" ] "},
		{"one is there", `["x"]`, `["x","y"]`},
		{"one is there, escaped", `["\u0079"]`, `["\u0079","x"]`},
		{"all are there", ` [ "y" , "x" ]`, ` [ "y" , "x" ]`},
		{"empty", `[ ]`, `["x","y" ]`},
		{"inner arrays do not count", `[["x"]]`, `[["x"],"x","y"]`},
		{"nothing", ``, `["x","y"]`},
		{"null", `null`, `["x","y"]`},
		{"a string", `"x y"`, `["x","y"]`},
		{"cut short", `["x"`, `["x","y"]`},
	}
	for _, tt := range tests {
		in := []byte(tt.raw)
		if got := AddToList(in, "x", "y", "x"); string(got) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.rule, got, tt.want)
		}
		if string(in) != tt.raw {
			t.Errorf("%s: input became %s", tt.rule, in)
		}
	}
}

func TestObjectLists(t *testing.T) {
	const doc = `{ "scopes_supported": [ "openid" ], "issuer": "https://idp.test" }`
	tests := []struct {
		rule string
		edit func(*Object)
		want string
	}{
		{"append", func(o *Object) { o.AddToList("scopes_supported", nil, "online_access") },
			`{ "scopes_supported": [ "openid","online_access" ], "issuer": "https://idp.test" }`},
		{"there already", func(o *Object) { o.AddToList("scopes_supported", []string{"x"}, "openid") }, doc},
		{"missing begins as its default", func(o *Object) {
			o.AddToList("grant_types_supported", []string{"authorization_code", "implicit"}, "refresh_token")
		}, `{ "scopes_supported": [ "openid" ], "issuer": "https://idp.test","grant_types_supported":["authorization_code","implicit","refresh_token"] }`},
		{"set a list", func(o *Object) { o.SetList("scopes_supported", "a", `"`) },
			`{ "scopes_supported": ["a","\""], "issuer": "https://idp.test" }`},
		{"set an empty list", func(o *Object) { o.SetList("scopes_supported") },
			`{ "scopes_supported": [], "issuer": "https://idp.test" }`},
	}
	for _, tt := range tests {
		o := mustObject(t, doc)
		tt.edit(o)
		if got := string(o.Bytes()); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.rule, got, tt.want)
		}
	}
	o := mustObject(t, `{"l":["a",1,"\u0062"],"s":"a"}`)
	if got, ok := o.List("l"); !slices.Equal(got, []string{"a", "b"}) || !ok {
		t.Errorf("List(l) = %q, %t", got, ok)
	}
	if got, ok := o.List("s"); got != nil || ok {
		t.Errorf("List(s) = %q, %t", got, ok)
	}
	if !o.ListHas("l", "b", "a") || o.ListHas("l", "a", "c") || o.ListHas("s", "a") || o.ListHas("missing", "a") {
		t.Error("ListHas is wrong")
	}
}
