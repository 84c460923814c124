package main

import (
	"reflect"
	"testing"
)

func TestInspect(t *testing.T) {
	web7 := []ticket{{"WEB", "7"}}
	for _, row := range []struct {
		argv    []string
		tickets []ticket
		known   bool
	}{
		{[]string{"git", "commit", "-m", "WEB-7: close the door"}, web7, true},
		{[]string{"git", "commit", "-amWEB-7"}, web7, true},
		{[]string{"git", "commit", "-a", "--message=WEB-7 and WEB-7"}, web7, true},
		{[]string{"git", "commit", "-Sm", "-um", "-m", "WEB-7"}, web7, true},
		{[]string{"git", "commit", "-Sm", "WEB-7"}, nil, false},
		{[]string{"git", "commit", "--mes", "WEB-7"}, web7, true},
		{[]string{"git", "commit", "-m", "close the door\nWEB-7"}, nil, true},
		{[]string{"git", "commit", "--author", "A", "-m", "web-7, WEB-0, XWEB7"}, nil, true},
		{[]string{"git", "commit", "--", "-m", "WEB-7"}, nil, false},
		{[]string{"git", "commit"}, nil, false},
		{[]string{"git", "commit", "-m"}, nil, false},
		{[]string{"git", "commit", "-m", "WEB-7", "-F", "other"}, nil, false},
		{[]string{"git", "commit", "-m", "WEB-7", "--fixup=HEAD"}, nil, false},
		{[]string{"git", "push"}, nil, false},
	} {
		got := inspect(row.argv)
		if len(got.Tickets) != len(row.tickets) || len(row.tickets) > 0 && !reflect.DeepEqual(got.Tickets, row.tickets) || (got.Problem == "") != row.known {
			t.Errorf("inspect(%q) = %+v, want %v, known %v", row.argv, got, row.tickets, row.known)
		}
	}
}
