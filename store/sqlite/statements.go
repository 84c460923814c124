package sqlite

// The statements that run within transactions, by the pool that they run on.

func viewStatements() []string {
	return []string{
		selectSession, selectSessionExists,
		selectMessage, selectMessages, selectMessagesBefore, selectPartsBetween,
	}
}

func updateStatements() []string {
	return []string{
		selectSession, selectSessionExists, insertSession, updateSession, selectTree, deleteSession,
		upsertMessage, upsertPart, deleteMessage,
		insertAnswer, insertLease, deleteLease,
		insertDecision, holdDecision, pruneDecisions,
	}
}
