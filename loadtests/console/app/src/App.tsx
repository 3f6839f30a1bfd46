// Locust's page, with the console's tabs before its own.
import { useEffect, useMemo, type ComponentType } from "react";
import { AppBar, Box, Button, Container, createTheme, CssBaseline, IconButton, Link, ThemeProvider, Toolbar } from "@mui/material";
import Brightness4 from "@mui/icons-material/Brightness4";
import Brightness7 from "@mui/icons-material/Brightness7";
import {
  locustStore, Logo, StateButtons, SWARM_STATE, SwarmForm, SwarmMonitor, tabConfig, Tabs, useFetchStats, useFetchWorkerCount, useLogViewer,
  type IRootState,
} from "locust-ui";
import { Provider, useSelector } from "react-redux";
import { Catalogue } from "./Catalogue";
import { LanguageProvider, useLanguage, type Word } from "./language";
import { Guard, LostBanner } from "./parts";
import { openTab, RunProvider } from "./run";
import { Settings } from "./Settings";
import { Topology } from "./Topology";
import { Verdict } from "./Verdict";
import { YourRules } from "./YourRules";

const setDark = (dark: boolean) => locustStore.dispatch({ type: "theme/setIsDarkMode", payload: dark });

// Locust's own colors, darker or lighter where its text would be hard to read.
function themeOf(dark: boolean) {
  return createTheme({
    palette: {
      mode: dark ? "dark" : "light",
      contrastThreshold: 4.5,
      primary: { main: dark ? "#4ade80" : "#15803d" },
      success: { main: dark ? "#4ade80" : "#15803d" },
      error: { main: dark ? "#ff8a80" : "#c62828" },
      warning: { main: dark ? "#fbbf24" : "#9a5b00" },
      secondary: { main: dark ? "#d8b4fe" : "#7b1fa2" },
    },
    components: {
      MuiCssBaseline: { styleOverrides: { ul: { paddingLeft: "16px" }, code: { overflowWrap: "anywhere" } } },
      MuiAppBar: { defaultProps: { enableColorOnDark: false } },
      MuiTab: { styleOverrides: { root: { textTransform: "none" } } },
      MuiButton: { styleOverrides: { root: { textTransform: "none" } } },
    },
  });
}

const begun = ({ swarm }: IRootState) => swarm.state !== SWARM_STATE.READY;
const idle = ({ swarm }: IRootState) => swarm.state === SWARM_STATE.READY || swarm.state === SWARM_STATE.STOPPED;

/** Locust's own form, which leads to the verdict if it has started a run. */
function Start() {
  return <SwarmForm onFormSubmit={() => idle(locustStore.getState() as IRootState) || openTab("verdict")} />;
}

function Navigation({ dark }: { dark: boolean }) {
  const { word, change } = useLanguage();
  const shown = useSelector(begun);
  useEffect(() => {
    const chosen = localStorage.getItem("theme");
    setDark(chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches);
  }, []);
  const toggle = () => {
    localStorage.setItem("theme", dark ? "light" : "dark");
    setDark(!dark);
  };
  return (
    <AppBar position="static">
      <Container maxWidth="xl">
        <Toolbar disableGutters sx={{ flexWrap: "wrap", gap: 2, py: 1 }}>
          <Link color="inherit" href="." sx={{ display: "flex", mr: "auto" }}>
            <Logo />
          </Link>
          {shown && (
            <Box sx={{ display: "flex", flexWrap: "wrap", gap: 2, overflowX: "auto" }}>
              <SwarmMonitor />
              <StateButtons />
            </Box>
          )}
          <Box>
            <Button color="inherit" onClick={change}>
              {word("other")}
            </Button>
            <IconButton aria-label={word(dark ? "light" : "dark")} color="inherit" onClick={toggle}>
              {dark ? <Brightness7 /> : <Brightness4 />}
            </IconButton>
          </Box>
        </Toolbar>
      </Container>
    </AppBar>
  );
}

interface Tab {
  key: string;
  title: Word;
  component: ComponentType;
  shouldDisplayTab?: (state: IRootState) => boolean;
}

const OWN: Tab[] = [
  { key: "catalogue", title: "catalogue", component: Catalogue },
  { key: "verdict", title: "verdict", component: Verdict },
  { key: "topology", title: "topology", component: Topology },
  { key: "settings", title: "settings", component: Settings },
  { key: "judge", title: "your_rules", component: YourRules },
  { key: "start", title: "load_test", component: Start, shouldDisplayTab: idle },
];
const LOCUSTS: Record<keyof typeof tabConfig, Word> = {
  stats: "statistics", charts: "charts", failures: "failures", exceptions: "exceptions", ratios: "ratios", reports: "downloads", logs: "logs",
  workers: "workers",
};

/** The console's tab, which cannot take the others with it when it fails. */
function guarded(Content: ComponentType): ComponentType {
  return function Guarded() {
    const { word } = useLanguage();
    return (
      <Guard word={word}>
        <Content />
      </Guard>
    );
  };
}

// Locust's own tabs have something to show once a run has begun. Its form is there before and after one, not during it.
const TABS = [
  ...OWN.map((tab) => ({ ...tab, component: guarded(tab.component) })),
  ...Object.entries(LOCUSTS).map(([name, title]) => {
    const tab: Tab = tabConfig[name as keyof typeof tabConfig] as never;
    const { shouldDisplayTab } = tab;
    return { ...tab, title, shouldDisplayTab: (state: IRootState) => begun(state) && (!shouldDisplayTab || shouldDisplayTab(state)) };
  }),
];

function Dashboard() {
  useFetchStats();
  useFetchWorkerCount();
  useLogViewer();
  const { word } = useLanguage();
  const dark = useSelector(({ theme }: IRootState) => theme.isDarkMode);
  const theme = useMemo(() => themeOf(dark), [dark]);
  const tabs = useMemo(() => TABS.map((tab) => ({ ...tab, title: word(tab.title) })), [word]);
  useEffect(() => {
    const follow = () => {
      const query = Object.fromEntries(new URLSearchParams(window.location.search));
      locustStore.dispatch({ type: "url/setUrl", payload: { query: { tab: "catalogue", ...query } } });
    };
    window.addEventListener("popstate", follow);
    return () => window.removeEventListener("popstate", follow);
  }, []);
  return (
    <ThemeProvider theme={theme}>
      <CssBaseline />
      <Navigation dark={dark} />
      <LostBanner />
      <main>
        <Tabs tabs={tabs} />
      </main>
    </ThemeProvider>
  );
}

export function App() {
  return (
    <Provider store={locustStore}>
      <LanguageProvider>
        <RunProvider>
          <Dashboard />
        </RunProvider>
      </LanguageProvider>
    </Provider>
  );
}
