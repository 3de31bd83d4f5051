package rewrite_test

import (
	"fmt"

	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
)

func ExampleForm() {
	f, err := rewrite.ParseForm("client_id=spa&scope=openid%20online_access&&state=a%2fb;c")
	if err != nil {
		fmt.Println(err)
		return
	}
	scope := rewrite.RemoveScope(f.Get("scope"), "online_access")
	f.Set("scope", rewrite.AddScope(scope, "offline_access"))
	fmt.Println(f)
	// Output: client_id=spa&scope=openid+offline_access&&state=a%2fb;c
}

func ExampleObject() {
	o, err := rewrite.ParseObject([]byte(`{"refresh_token": "r", "account": 12345678901234567890, "scope": "openid"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	o.Del("refresh_token")
	o.SetNumber("session_expires_in", 36000)
	fmt.Printf("%s\n", o.Bytes())
	// Output: { "account": 12345678901234567890, "scope": "openid","session_expires_in":36000}
}

func ExampleAppendParams() {
	fmt.Println(rewrite.AppendParams("https://app.example/cb?tenant=%7e1", false,
		[2]string{"error", "invalid_request"}, [2]string{"state", "x y"}))
	// Output: https://app.example/cb?tenant=%7e1&error=invalid_request&state=x+y
}
