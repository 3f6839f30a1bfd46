// Changes to rules that the page has made, newest first.
import { Box, Button, Paper, Table, TableBody, TableCell, TableContainer, TableRow, Typography } from "@mui/material";
import { useLanguage } from "./language";
import { Heads } from "./parts";
import type { Past } from "./settingsForm";

/** Without `undo`, they are only shown. */
export function History({ history, undo, busy }: { history: Past[]; undo?: (past: Past) => void; busy?: boolean }) {
  const { word } = useLanguage();
  if (!history.length) return null;
  return (
    <Box component="section" sx={{ mt: 3 }}>
      <Typography component="h2" variant="h6">
        {word("history")}
      </Typography>
      <TableContainer aria-label={word("history")} component={Paper} role="region" tabIndex={0} variant="outlined">
        <Table size="small">
          <Heads names={[...(["number", "when", "who", "service", "difference"] as const).map(word), ""]} />
          <TableBody>
            {history.map((past) => (
              <TableRow data-change={past.number} key={past.number}>
                <TableCell component="th" scope="row">
                  {past.number}
                </TableCell>
                <TableCell>
                  <time dateTime={past.when}>{past.when.replace("T", " ").replace("Z", " UTC")}</time>
                </TableCell>
                <TableCell>{past.who}</TableCell>
                <TableCell>{past.service}</TableCell>
                <TableCell>
                  <details>
                    <summary>{past.undoes ? `${word("undoes")} ${past.undoes}` : word("difference")}</summary>
                    <Box component="pre" sx={{ fontSize: 13, overflowX: "auto" }} tabIndex={0}>
                      {past.diff}
                    </Box>
                  </details>
                </TableCell>
                <TableCell>
                  {undo && past.open && (
                    <Button aria-label={`${word("undo")} ${past.number}`} disabled={busy} onClick={() => undo(past)} size="small">
                      {word("undo")}
                    </Button>
                  )}
                </TableCell>
              </TableRow>
            ))}
          </TableBody>
        </Table>
      </TableContainer>
    </Box>
  );
}
