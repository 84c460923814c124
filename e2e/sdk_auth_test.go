package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSDKSignIn signs in to providers by the SDK: with a key, and with a code
// that the browser shows, at a provider of the test's own.
func TestSDKSignIn(t *testing.T) {
	t.Parallel()
	requireE2E(t)
	const key, code, access = "a-key-not-to-be-shown", "a-code-not-to-be-shown", "an-access-token-not-to-be-shown"
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"refresh_token":"a-refresh-token-not-to-be-shown","expires_in":3600}`, access)
	}))
	t.Cleanup(idp.Close)
	s := startServer(t, serverOptions{Env: []string{"ANTHROPIC_AUTH_URL=" + idp.URL + "/authorize", "ANTHROPIC_TOKEN_URL=" + idp.URL + "/token"}})

	dir := tempDir(t)
	script, err := os.ReadFile(filepath.Join("testdata", "sdk_auth.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"sdk_auth.mjs": string(script)})
	if err := os.Symlink(filepath.Join(clientDir(t), "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	out := runCommand(t, append(clientEnv(t), "BASE_URL="+s.URL, "PASSWORD="+s.Token, "A_KEY="+key, "CODE="+code), dir, "node", "sdk_auth.mjs")
	want := map[string]string{
		"none": `200 []`, "set": `200 true`, "mistral": `200 ["mistral"]`, "refused": `400 ProviderAuthValidationFailed`,
		"no code": `400 ProviderAuthOauthCodeMissing`, "done": `200 true`, "both": `200 ["anthropic","mistral"]`,
		"again": `400 ProviderAuthOauthMissing`, "remove": `200 true`, "anthropic": `200 ["anthropic"]`,
	}
	for line := range strings.Lines(out) {
		var step struct {
			Step   string
			Status int
			Data   json.RawMessage
			Error  *struct{ Name string }
		}
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatalf("the script told %q: %v", line, err)
		}
		got := fmt.Sprint(step.Status, " ", string(step.Data))
		if step.Error != nil {
			got = fmt.Sprint(step.Status, " ", step.Error.Name)
		}
		if step.Step == "begun" && !strings.Contains(got, `"method":"code"`) || step.Step == "methods" && !strings.Contains(got, `"type":"api"`) {
			t.Errorf("%s = %s", step.Step, got)
		}
		if w, ok := want[step.Step]; ok && got != w {
			t.Errorf("%s = %s, want %s", step.Step, got, w)
		}
		delete(want, step.Step)
	}
	if len(want) > 0 {
		t.Errorf("the script left out %v:\n%s", want, out)
	}
	if strings.Contains(out+s.Log(), "not-to-be-shown") {
		t.Errorf("a secret is shown:\n%s\n%s", out, s.Log())
	}
	// The command line reads what came that way.
	if list := runCommand(t, s.Env, s.Project, serverBinary(t), "auth", "list"); !strings.Contains(list, "anthropic-claude") || strings.Contains(list, "mistral") {
		t.Errorf("auth list:\n%s", list)
	}
}
