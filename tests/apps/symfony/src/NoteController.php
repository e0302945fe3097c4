<?php

namespace App;

use Symfony\Bundle\FrameworkBundle\Controller\AbstractController;
use Symfony\Component\Form\Extension\Core\Type\FileType;
use Symfony\Component\Form\Extension\Core\Type\TextType;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\Routing\Generator\UrlGeneratorInterface;

/** Notes with a file each, kept in the session of whoever wrote them. */
class NoteController extends AbstractController
{
    public function home(Request $request): Response
    {
        $session = $request->getSession();
        $session->set('visits', $session->get('visits', 0) + 1);

        return $this->render('home.html.twig', ['notes' => array_keys($session->get('notes', []))]);
    }

    public function note(Request $request, string $name): Response
    {
        $note = $request->getSession()->get('notes', [])[$name] ?? throw $this->createNotFoundException();

        return $this->json([
            'note' => $note,
            'link' => $this->generateUrl('note', ['name' => $name], UrlGeneratorInterface::ABSOLUTE_URL),
            'file' => $request->getSchemeAndHttpHost() . $request->getBasePath() . '/storage/' . rawurlencode($note),
            'client' => $request->getClientIp(),
            'secure' => $request->isSecure(),
        ]);
    }

    public function write(Request $request): Response
    {
        $form = $this->createFormBuilder()->add('name', TextType::class)->add('file', FileType::class)->getForm();
        $form->handleRequest($request);
        if (!$form->isSubmitted() || !$form->isValid()) {
            return $this->render('write.html.twig', ['form' => $form->createView()])
                ->setStatusCode($form->isSubmitted() ? 422 : 200);
        }
        ['name' => $name, 'file' => $file] = $form->getData();
        $note = $file->getClientOriginalName();
        $file->move($this->getParameter('kernel.project_dir') . '/public/storage', $note);
        $session = $request->getSession();
        $session->set('notes', [$name => $note] + $session->get('notes', []));

        return $this->redirectToRoute('note', ['name' => $name]);
    }

    public function echo(Request $request): Response
    {
        return $this->text($request->getContent());
    }

    public function version(): Response
    {
        return $this->text(file_get_contents(dirname(__DIR__) . '/VERSION'));
    }

    private function text(string $text): Response
    {
        return new Response($text, 200, ['Content-Type' => 'text/plain', 'Content-Length' => strlen($text)]);
    }
}
