package e2e

import (
	"html"
	"net/url"
	"regexp"
	"strings"
)

// htmlForm is the first form of a page.
type htmlForm struct {
	action string
	values url.Values
	kinds  map[string]string // type of each input
}

var (
	formTag   = regexp.MustCompile(`(?is)<form\b[^>]*>`)
	inputTag  = regexp.MustCompile(`(?is)<input\b[^>]*>`)
	attribute = regexp.MustCompile(`(?is)\b([a-z-]+)\s*=\s*"([^"]*)"`)
)

func parseForm(page string) (htmlForm, bool) {
	at := formTag.FindStringIndex(page)
	if at == nil {
		return htmlForm{}, false
	}
	form := htmlForm{action: attributes(page[at[0]:at[1]])["action"], values: url.Values{}, kinds: map[string]string{}}
	rest, _, _ := strings.Cut(page[at[1]:], "</form>")
	for _, tag := range inputTag.FindAllString(rest, -1) {
		a := attributes(tag)
		if a["name"] == "" {
			continue
		}
		form.values.Set(a["name"], a["value"])
		form.kinds[a["name"]] = strings.ToLower(a["type"])
	}
	return form, true
}

func attributes(tag string) map[string]string {
	found := map[string]string{}
	for _, m := range attribute.FindAllStringSubmatch(tag, -1) {
		found[strings.ToLower(m[1])] = html.UnescapeString(m[2])
	}
	return found
}

// fill puts the password into the password field, the user's name into the empty text fields.
func (f htmlForm) fill(user, password string) {
	for name, kind := range f.kinds {
		switch {
		case kind == "password":
			f.values.Set(name, password)
		case (kind == "" || kind == "text" || kind == "email") && f.values.Get(name) == "":
			f.values.Set(name, user)
		}
	}
}
