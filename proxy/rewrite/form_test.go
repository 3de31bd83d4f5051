package rewrite

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mustForm parses a form that is known to be good.
func mustForm(t testing.TB, raw string) *Form {
	t.Helper()
	f, err := ParseForm(raw)
	if err != nil {
		t.Fatalf("ParseForm(%q): %v", raw, err)
	}
	return f
}

func TestFormEdits(t *testing.T) {
	tests := []struct {
		rule string
		raw  string
		edit func(*Form)
		want string
	}{
		{"nothing done, nothing changed", "&&b&=&a=%7e&c=+%2B&&", func(*Form) {}, "&&b&=&a=%7e&c=+%2B&&"},
		{"set in place", "a=1&scope=x&b=2", func(f *Form) { f.Set("scope", "openid profile") }, "a=1&scope=openid+profile&b=2"},
		{"set keeps the first place and removes the others", "a=1&s=x&b=2&s=y&s", func(f *Form) { f.Set("s", "z") }, "a=1&s=z&b=2"},
		{"set appends what is missing", "a=1", func(f *Form) { f.Set("b", "2") }, "a=1&b=2"},
		{"set on an empty form", "", func(f *Form) { f.Set("b", "2") }, "b=2"},
		{"set finds an escaped name", "a=1&%73cope=x", func(f *Form) { f.Set("scope", "y") }, "a=1&scope=y"},
		{"set to the value that is there keeps its spelling", "scope=a%20b&x=%7E", func(f *Form) { f.Set("scope", "a b") }, "scope=a%20b&x=%7E"},
		{"set to the value that is there still removes the others", "s=a%20b&x&s=c", func(f *Form) { f.Set("s", "a b") }, "s=a%20b&x"},
		{"untouched pairs keep their bytes", "&&b&=&a=%7e~%zz;&s=1&c=%C3%A4ä&", func(f *Form) { f.Set("s", "2") }, "&&b&=&a=%7e~%zz;&s=2&c=%C3%A4ä&"},
		{"delete all of a name", "s=1&a&s&%73=3&b=", func(f *Form) { f.Del("s") }, "a&b="},
		{"delete the first", "s=1&a=2", func(f *Form) { f.Del("s") }, "a=2"},
		{"delete the last", "a=2&s=1", func(f *Form) { f.Del("s") }, "a=2"},
		{"delete the only one", "s=1", func(f *Form) { f.Del("s") }, ""},
		{"delete what is missing", "a=2&&", func(f *Form) { f.Del("s") }, "a=2&&"},
		{"deleting the empty name keeps empty pairs", "&=1&&a", func(f *Form) { f.Del("") }, "&&a"},
		{"names differ in case", "S=1&s=2", func(f *Form) { f.Del("s") }, "S=1"},
		{"; does not separate", "a=1;s=2&b=3", func(f *Form) { f.Del("s") }, "a=1;s=2&b=3"},
		{"add beside one of that name", "resource=a", func(f *Form) { f.Add("resource", "b") }, "resource=a&resource=b"},
		{"encoding of WHATWG URL 5.2", "", func(f *Form) { f.Set("ä&=", "a b*-._~+%&=;#?/:\r\n\x00") },
			"%C3%A4%26%3D=a+b*-._%7E%2B%25%26%3D%3B%23%3F%2F%3A%0D%0A%00"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			f, err := ParseForm(tt.raw)
			if err != nil && !errors.Is(err, ErrBadEscape) {
				t.Fatal(err)
			}
			tt.edit(f)
			if got := f.String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFormReads(t *testing.T) {
	tests := []struct {
		rule, raw, name string
		want            []string // nil: not there
	}{
		{"plain", "a=1&b=2", "b", []string{"2"}},
		{"plus and escapes in a value", "a=x+y%2Bz%C3%A4", "a", []string{"x y+zä"}},
		{"plus in a name", "a+b=1", "a b", []string{"1"}},
		{"escapes in a name, both cases", "%6aa=1&%6Aa=2", "ja", []string{"1", "2"}},
		{"without =", "a", "a", []string{""}},
		{"with nothing behind =", "a=", "a", []string{""}},
		{"further = belong to the value", "a=b=c==", "a", []string{"b=c=="}},
		{"an escaped = belongs to the name", "a%3Db=c", "a=b", []string{"c"}},
		{"; belongs to the value", "a=1;b=2", "a", []string{"1;b=2"}},
		{"; begins no pair", "a=1;b=2", "b", nil},
		{"empty pairs are no parameters", "&&", "", nil},
		{"an empty name is one", "=1", "", []string{"1"}},
		{"the value of another case", "A=1", "a", nil},
		{"a NUL does not end a name", "a%00=1", "a", nil},
		{"an escape is decoded once", "a=%2541", "a", []string{"%41"}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			f := mustForm(t, tt.raw)
			if got := f.Values(tt.name); !slices.Equal(got, tt.want) {
				t.Errorf("Values(%q) = %q, want %q", tt.name, got, tt.want)
			}
			if got := f.Has(tt.name); got != (tt.want != nil) {
				t.Errorf("Has(%q) = %t", tt.name, got)
			}
			first := ""
			if len(tt.want) > 0 {
				first = tt.want[0]
			}
			if got := f.Get(tt.name); got != first {
				t.Errorf("Get(%q) = %q, want %q", tt.name, got, first)
			}
		})
	}
}

func TestParseFormBadEscape(t *testing.T) {
	tests := []struct{ raw, name, want string }{
		{"a=%", "a", "%"},
		{"a=1%4", "a", "1%4"},
		{"a=%zz", "a", "%zz"},
		{"a=%4g+%41", "a", "%4g A"},
		{"a=%%41", "a", "%A"},
		{"a=%u0041", "a", "%u0041"},
		{"%zz=1", "%zz", "1"},
		{"b=1&a=%41%&c=2", "a", "A%"},
	}
	for _, tt := range tests {
		f, err := ParseForm(tt.raw)
		if !errors.Is(err, ErrBadEscape) {
			t.Errorf("ParseForm(%q): error %v, want ErrBadEscape", tt.raw, err)
		}
		if got := f.Get(tt.name); got != tt.want {
			t.Errorf("%q: Get(%q) = %q, want %q", tt.raw, tt.name, got, tt.want)
		}
		if f.String() != tt.raw {
			t.Errorf("%q came back as %q", tt.raw, f)
		}
	}
}

func TestParseFormBoundsPairs(t *testing.T) {
	if _, err := ParseForm(strings.Repeat("&", maxPairs-1)); err != nil {
		t.Errorf("%d pairs: %v", maxPairs, err)
	}
	if f, err := ParseForm(strings.Repeat("&", maxPairs)); !errors.Is(err, ErrTooManyPairs) || f != nil {
		t.Errorf("%d pairs: %v, %v, want no form and ErrTooManyPairs", maxPairs+1, f, err)
	}
}

func TestFormDuplicate(t *testing.T) {
	var many []string
	for i := range 200 {
		many = append(many, "p"+strconv.Itoa(i))
	}
	long := strings.Join(many, "&")
	tests := []struct{ rule, raw, want string }{
		{"none", "a=1&b=2", ""},
		{"twice", "a=1&b=2&a=1", "a"},
		{"twice in two spellings", "scope=1&%73cope=2", "scope"},
		{"allowed", "resource=1&resource=2&audience=3&audience=4", ""},
		{"beside allowed ones", "resource=1&resource=2&x&x=", "x"},
		{"empty pairs and names", "&&=1&=2", ""},
		{"two cases are two names", "a=1&A=2", ""},
		{"none of many", long, ""},
		{"allowed among many", long + "&resource&resource&=&=", ""},
		{"one of many", long + "&p7=x", "p7"},
	}
	for _, tt := range tests {
		if got := mustForm(t, tt.raw).Duplicate("resource", "audience"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestFormLookalike(t *testing.T) {
	tests := []struct{ rule, raw, want string }{
		{"none", "code_challenge=a&scope=b;c&state=x.y[z]&scopes=1&scope_=2", ""},
		{"letter case", "scope=a&Scope=b", "Scope"},
		{"dot for underscore", "code.challenge=a", "code.challenge"},
		{"space for underscore", "code+challenge=a", "code challenge"},
		{"bracket for underscore", "code[challenge=a", "code[challenge"},
		{"leading space", "+scope=a", " scope"},
		{"trailing white space", "scope%0A=a", "scope\n"},
		{"array", "scope[]=a", "scope[]"},
		{"escaped array", "scope%5B0%5D=a", "scope[0]"},
		{"NUL", "scope%00x=a", "scope\x00x"},
		{"behind a semicolon", "state=1;scope=a", "scope"},
		{"behind a semicolon of the same name", "scope=1;x;%53cope=a", "Scope"},
		{"an escaped semicolon is none", "state=1%3Bscope=a", ""},
		{"not asked for", "Nonce=1", ""},
	}
	for _, tt := range tests {
		if got := mustForm(t, tt.raw).Lookalike("scope", "code_challenge"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestFormLoosely(t *testing.T) {
	form := mustForm(t, "scope=a+b&Scope=c&x=1;scope%00=d;y&scopes=e&scope[]=f%20g&&=h&scope")
	if got := form.Loosely("scope"); !slices.Equal(got, []string{"a b", "c", "d", "f g", ""}) {
		t.Errorf("got %q", got)
	}
	if got := form.Loosely("code_challenge"); got != nil {
		t.Errorf("got %q of what is not there", got)
	}
}

func TestLogsHoldNoContent(t *testing.T) {
	var b strings.Builder
	l := slog.New(slog.NewTextHandler(&b, nil))
	l.Info("m", "form", mustForm(t, "client_secret=marker"), "object", mustObject(t, `{"refresh_token":"marker"}`))
	if strings.Contains(b.String(), "marker") {
		t.Errorf("logged %s", b.String())
	}
}
