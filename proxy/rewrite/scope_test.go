package rewrite

import "testing"

func TestRemoveScope(t *testing.T) {
	tests := []struct{ rule, scope, want string }{
		{"first", "online_access openid profile", "openid profile"},
		{"middle", "openid online_access profile", "openid profile"},
		{"last", "openid profile online_access", "openid profile"},
		{"only", "online_access", ""},
		{"twice and another", "x openid online_access x", "openid"},
		{"a part of a name", "my_online_access online_access2", "my_online_access online_access2"},
		{"not there: every byte stays", "  openid\tprofile  ", "  openid\tprofile  "},
		{"behind a tab", "openid\tonline_access  profile", "openid profile"},
		{"another case", "Online_Access", "Online_Access"},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		if got := RemoveScope(tt.scope, "online_access", "x"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestAddScope(t *testing.T) {
	tests := []struct{ rule, scope, want string }{
		{"append", "openid", "openid offline_access x"},
		{"one is there", "x openid", "x openid offline_access"},
		{"all are there", "x\toffline_access ", "x\toffline_access "},
		{"to nothing", "", "offline_access x"},
		{"behind a space", "openid ", "openid offline_access x"},
		{"a part of a name is not it", "offline_access2", "offline_access2 offline_access x"},
	}
	for _, tt := range tests {
		if got := AddScope(tt.scope, "offline_access", "", "x"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestHasScope(t *testing.T) {
	for scope, want := range map[string]bool{
		"a":        true,
		"b a c":    true,
		"b\ta\n":   true,
		"aa":       false,
		"A":        false,
		"":         false,
		"b":        false,
		"b\u00a0a": true, // .NET, Java and Go split here
	} {
		if got := HasScope(scope, "a"); got != want {
			t.Errorf("HasScope(%q) = %t, want %t", scope, got, want)
		}
	}
	if HasScope("a b", "") {
		t.Error("an empty name is in a list")
	}
}
