package shell

import "strings"

// settingNames are parts of the names of settings that hold credentials.
var settingNames = []string{"auth", "token", "passw", "secret", "credential", "apikey", "api-key", "api_key", "http-basic", "proxy", "certfile", "keyfile", "//"}

// gitNames are those of git: the name of an author is none.
var gitNames = []string{"credential", "extraheader", "token", "passw", "secret", "cookie", "smtp", "http.", "^http", "oauth", "apikey"}

var (
	npmSettings = []consequence{
		{is: reveals, operand: []string{"get"}, names: settingNames},
		{is: reveals, operand: []string{"list", "ls"}, with: []string{"-l", "--long", "--json"}},
	}
	yarnSettings = []consequence{
		{is: reveals, operand: []string{"get"}, names: settingNames},
		{is: reveals, operand: []string{"list"}},
		{is: reveals, with: []string{"--no-redacted"}},
	}
	pnpmSettings = []consequence{
		{is: reveals, operand: []string{"get"}, names: settingNames},
		{is: reveals, operand: []string{"list", "ls"}},
	}
	pipSettings       = []consequence{{is: reveals, operand: []string{"list", "get", "debug"}}}
	terraformOutputs  = []consequence{{is: reveals, with: []string{"-json", "-raw", "--json", "--raw"}}}
	mavenSettings     = []consequence{{is: reveals, with: []string{"-DshowPasswords"}}}
	railsCredentials  = []consequence{{is: reveals, operand: []string{"credentials:show", "credentials:edit", "credentials:diff", "secrets:show", "secrets:edit", "encrypted:show", "encrypted:edit"}}}
	printsCredentials = []consequence{{is: reveals}}
)

// revealing are the programs that print what they keep of credentials. It is
// data: the key is a name, or a name with a subcommand. A program that is asked
// about whatever it does need not stand here.
var revealing = map[string][]consequence{
	"npm config": npmSettings, "npm c": npmSettings, "npm get": {{is: reveals, names: settingNames}}, "npm token": printsCredentials,
	"yarn config": yarnSettings, "pnpm config": pnpmSettings, "pnpm c": pnpmSettings, "pnpm get": {{is: reveals, names: settingNames}},
	"pip config": pipSettings, "pip3 config": pipSettings, "poetry config": {{is: reveals, names: settingNames}},
	"composer config":     {{is: reveals, with: []string{"--auth", "-a"}}, {is: reveals, names: settingNames}},
	"git config":          {{is: reveals, names: gitNames}},
	"dotnet user-secrets": {{is: reveals, operand: []string{"list"}}},
	"terraform output":    terraformOutputs, "terraform show": terraformOutputs, "tofu output": terraformOutputs, "tofu show": terraformOutputs,
	"mvn help:effective-settings": mavenSettings, "mvnw help:effective-settings": mavenSettings,
	"rails":   railsCredentials,
	"svn":     {{is: reveals, with: []string{"--show-passwords"}}},
	"keyring": {{is: reveals, operand: []string{"get"}}}, "lpass": {{is: reveals, operand: []string{"show", "export"}}},
	"ansible-vault": {{is: reveals, operand: []string{"view", "decrypt", "edit"}}}, "chamber": {{is: reveals, operand: []string{"read", "export", "env", "exec"}}},
	"doppler secrets": printsCredentials, "doppler run": printsCredentials, "doppler configure": printsCredentials,
	"infisical secrets": printsCredentials, "infisical run": printsCredentials, "infisical export": printsCredentials, "infisical token": printsCredentials,
	"aws-vault": {{is: reveals, operand: []string{"exec", "export"}}}, "envchain": {{is: reveals, least: 1}},
	"oc": {{is: reveals, operand: []string{"whoami"}, with: []string{"-t", "--show-token"}}}, "consul": {{is: reveals, operand: []string{"get"}}},
	"hf": {{is: reveals, operand: []string{"token"}}}, "databricks": {{is: reveals, operand: []string{"token"}}}, "snyk": {{is: reveals, operand: []string{"get"}, names: []string{"api"}}},
	"travis": {{is: reveals, operand: []string{"token"}}}, "stripe": {{is: reveals, with: []string{"--list"}, operand: []string{"config"}}},
	"kaggle": {{is: reveals, operand: []string{"view"}}}, "step": {{is: reveals, operand: []string{"token"}}}, "cmdkey": printsCredentials,
	"jf": {{is: reveals, operand: []string{"export", "atc", "access-token-create"}}}, "dvc": {{is: reveals, operand: []string{"config"}, with: []string{"-l", "--list"}}},
	"keychain": {{is: reveals, with: []string{"--eval"}}}, "gdbus": {{is: reveals, names: []string{"secrets"}}}, "dbus-send": {{is: reveals, names: []string{"secrets"}, least: 1}, {is: reveals, with: []string{"--dest=org.freedesktop.secrets"}}},
}

// keepsCredentials reports whether a program is one that others keep their
// credentials with, by its name: docker-credential-pass, git-credential-store.
func keepsCredentials(name string) bool {
	return strings.HasPrefix(name, "docker-credential-") || strings.HasPrefix(name, "git-credential")
}
